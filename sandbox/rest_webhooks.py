"""REST: the first answer to an interaction, and what its token allows afterwards (`@original`, followups)."""

from __future__ import annotations

from sandbox.compose import create_message, edit_message
from sandbox.errors import Json, Problem, invalid_form, refuse, unknown_message
from sandbox.interactions import Interaction, Interactions, InteractionType, Progress, reply_origin
from sandbox.modal_rules import modal_problems
from sandbox.rate_limits import WEBHOOK
from sandbox.rest import Answer, Call, Route
from sandbox.rules import choice_problems, defer_problems, flags_of
from sandbox.state import EPHEMERAL, LOADING, State, StoredMessage
from sandbox.threads import check_deletable, make_way
from sandbox.wire import message_json
from sandbox.world import BOT_ID

PONG, MESSAGE, DEFER, DEFER_UPDATE, UPDATE, CHOICES, MODAL = 1, 4, 5, 6, 7, 8, 9
ORIGINAL = "@original"


class WebhookRoutes:
    """Handlers of /interactions/.../callback and /webhooks/{application_id}/{token}."""

    def __init__(self, state: State, interactions: Interactions) -> None:
        self._state = state
        self._interactions = interactions

    def routes(self) -> list[Route]:
        webhook = "/webhooks/{application_id}/{token}"
        message = webhook + "/messages/{message_id}"
        table = [
            ("POST", webhook, self.followup),
            ("GET", message, self.fetch),
            ("PATCH", message, self.edit),
            ("DELETE", message, self.delete),
        ]
        callback = "/interactions/{interaction_id}/{token}/callback"
        return [
            Route(method="POST", path=callback, handler=self.callback, bucket=None, token_route=True),
            *(
                Route(
                    method=method,
                    path=path,
                    handler=handler,
                    bucket=WEBHOOK,
                    major=("application_id", "token"),
                    token_route=True,
                )
                for method, path, handler in table
            ),
        ]

    def callback(self, call: Call) -> Answer:
        """POST the first answer. 204, or with `with_response` a description of what was made."""
        interaction = self._interactions.to_answer(call.params["interaction_id"], call.params["token"])
        form = call.form()
        kind = form.get("type")
        if not isinstance(kind, int) or kind not in _allowed_types(interaction):
            detail = f"Callback type {kind!r} doesn't fit an interaction of type {int(interaction.type)}."
            raise invalid_form([Problem("callback-type", ("type",), detail, "INTERACTION_RESPONSE_TYPE_INVALID")])
        data = form.get("data") or {}
        if not isinstance(data, dict):
            raise invalid_form([Problem("shape", ("data",), "Expected an object.", "MODEL_TYPE_CONVERT")])
        self._apply(interaction, kind, data, call)
        if call.query.get("with_response", "").lower() in ("1", "true"):
            return Answer(self._interactions.callback_json(interaction, kind))
        return Answer()

    def _apply(self, interaction: Interaction, kind: int, data: Json, call: Call) -> None:
        if kind == MESSAGE:
            self._answer(interaction, data, call)
        elif kind == DEFER:
            refuse(defer_problems(data))
            self._think(interaction, ephemeral=bool(flags_of(data) & EPHEMERAL))
        elif kind == DEFER_UPDATE:
            self._adopt(interaction, self._source(interaction))
            self._interactions.acknowledge(interaction, Progress.DEFERRED)
        elif kind == UPDATE:
            source = self._source(interaction)
            edit_message(self._state, source, data, call.files, path=("data",))
            self._adopt(interaction, source)
            self._interactions.acknowledge(interaction, Progress.ANSWERED, ephemeral=source.ephemeral_to is not None)
        elif kind == CHOICES:
            refuse(choice_problems(data.get("choices")))
            interaction.choices = data["choices"]
            self._interactions.acknowledge(interaction, Progress.ANSWERED)
        else:
            refuse(modal_problems(data))
            interaction.modal = data
            self._interactions.acknowledge(interaction, Progress.ANSWERED)

    def followup(self, call: Call) -> Answer:
        """POST another message; right after a deferral it fills in the thinking one, as Discord does."""
        interaction = self._find(call)
        payload = call.form()
        original = self._original(interaction)
        if original is not None and original.thinking:
            message = edit_message(self._state, original, payload, call.files)
        else:
            ephemeral = bool(flags_of(payload) & EPHEMERAL)
            message = self._post(interaction, payload, call, ephemeral=ephemeral, first=False)
            if original is not None:
                message.reference = {"type": 0, "channel_id": original.channel_id, "message_id": original.id}
        self._interactions.finish(interaction)
        return Answer(message_json(self._state, message))

    def fetch(self, call: Call) -> Answer:
        """GET `@original` or a followup."""
        return Answer(message_json(self._state, self._message(call, self._find(call))))

    def edit(self, call: Call) -> Answer:
        """PATCH `@original` or a followup."""
        interaction = self._find(call)
        message = edit_message(self._state, self._message(call, interaction), call.form(), call.files)
        self._interactions.finish(interaction)
        return Answer(message_json(self._state, message))

    def delete(self, call: Call) -> Answer:
        """DELETE `@original` or a followup."""
        interaction = self._find(call)
        message = self._message(call, interaction)
        check_deletable(self._state, self._state.channel(message.channel_id), BOT_ID)
        self._state.delete_message(message)
        self._interactions.finish(interaction)
        return Answer()

    def _answer(self, interaction: Interaction, data: Json, call: Call) -> None:
        ephemeral = bool(flags_of(data) & EPHEMERAL)
        message = self._post(interaction, data, call, ephemeral=ephemeral, first=True, path=("data",))
        interaction.original_id = interaction.response_id = message.id
        self._interactions.acknowledge(interaction, Progress.ANSWERED, ephemeral=ephemeral)

    def _think(self, interaction: Interaction, *, ephemeral: bool) -> None:
        make_way(self._state, self._state.channel(interaction.channel_id), BOT_ID)
        message = StoredMessage(
            id=self._state.snowflakes.next(),
            channel_id=interaction.channel_id,
            author_id=BOT_ID,
            timestamp=self._state.clock.now(),
            flags=LOADING | (EPHEMERAL if ephemeral else 0),
            ephemeral_to=interaction.user_id if ephemeral else None,
            **reply_origin(interaction, first=True),
        )
        interaction.message_ids.append(message.id)
        interaction.original_id = interaction.response_id = message.id
        self._state.add_message(message)
        self._interactions.acknowledge(interaction, Progress.DEFERRED, ephemeral=ephemeral)

    def _post(
        self,
        interaction: Interaction,
        payload: Json,
        call: Call,
        *,
        ephemeral: bool,
        first: bool,
        path: tuple[str | int, ...] = (),
    ) -> StoredMessage:
        message = create_message(
            self._state,
            payload,
            call.files,
            channel_id=interaction.channel_id,
            author_id=BOT_ID,
            path=path,
            ephemeral_to=interaction.user_id if ephemeral else None,
            **reply_origin(interaction, first=first),
        )
        interaction.message_ids.append(message.id)
        return message

    def _source(self, interaction: Interaction) -> StoredMessage:
        source = interaction.source
        if source is None or self._state.find_message(source.channel_id, source.id) is None:
            raise unknown_message()
        return source

    def _adopt(self, interaction: Interaction, source: StoredMessage) -> None:
        """Types 6 and 7 speak about the message with the component: it becomes `@original`."""
        interaction.original_id = interaction.response_id = source.id
        interaction.message_ids.append(source.id)

    def _find(self, call: Call) -> Interaction:
        return self._interactions.by_token(call.params["application_id"], call.params["token"])

    def _original(self, interaction: Interaction) -> StoredMessage | None:
        if interaction.original_id is None:
            return None
        return self._state.find_message(interaction.channel_id, interaction.original_id)

    def _message(self, call: Call, interaction: Interaction) -> StoredMessage:
        wanted = call.params["message_id"]
        message_id = interaction.original_id if wanted == ORIGINAL else wanted
        if message_id is None or message_id not in interaction.message_ids:
            raise unknown_message()
        message = self._state.find_message(interaction.channel_id, message_id)
        if message is None:
            raise unknown_message()
        return message


def _allowed_types(interaction: Interaction) -> tuple[int, ...]:
    """Which callback types fit (API page "Receiving and Responding: Interaction Callback Type")."""
    if interaction.type is InteractionType.AUTOCOMPLETE:
        return (CHOICES,)
    on_message = (DEFER_UPDATE, UPDATE) if interaction.source is not None else ()
    modal = () if interaction.type is InteractionType.MODAL_SUBMIT else (MODAL,)
    return (MESSAGE, DEFER, *on_message, *modal)
