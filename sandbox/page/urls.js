// Addresses that the page may load or link to.

const CDN = "/cdn/attachments/";

/**
 * The address to load a picture or file from. The sandbox's CDN names its own host (127.0.0.1), which is another
 * origin when the page was opened as localhost; such addresses are turned into paths. null: not an address of the web.
 */
export function loadable(url) {
  let parsed;
  try {
    parsed = new URL(url, location.href);
  } catch {
    return null;
  }
  if (parsed.pathname.startsWith(CDN)) return parsed.pathname + parsed.search;
  return isWeb(parsed.href) ? parsed.href : null;
}

export function isWeb(url) {
  return /^https?:\/\//i.test(url ?? "");
}
