// Where one can be: the guild's channels with their threads, and direct channels, as one person sees them. Pure.

const PRIVATE_THREAD = 12;

/** Whether `user` sees a thread: a private one is for its members and for admins. */
export function sees(thread, user) {
  return thread.type !== PRIVATE_THREAD || Boolean(user?.admin) || thread.members.includes(user?.id);
}

/** Every place of `user`: each channel with its threads behind it, archived ones too, then their direct channels. */
export function placesOf(user, { guildChannels, threads, directChannels, bot }) {
  const below = (channel) => threads.filter((thread) => thread.parent_id === channel.id && sees(thread, user));
  const direct = directChannels.filter((channel) => channel.user === user?.id);
  return [
    ...guildChannels.flatMap((channel) => [channel, ...below(channel).map(threadPlace)]),
    ...direct.map(({ id }) => ({ id, name: bot.username, direct: true })),
  ];
}

function threadPlace({ id, name, type, parent_id: parent, archived, locked }) {
  return { id, name, parent, thread: true, private: type === PRIVATE_THREAD, archived, locked };
}

/** The icon that stands for a place of the guild. */
export function placeIcon(place) {
  if (!place.thread) return "hash";
  return place.private ? "lock" : "thread";
}
