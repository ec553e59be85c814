/** Payloads and values in one line of text, for people. */

const CHARS_MAX = 60;

/** A payload as the agent shows it: text in quotes, or base64; cut where it is long. */
export function shortPayload(shown: { payload: string; encoding: string; bytes: number }): string {
  const whole =
    shown.encoding === 'utf8' ? JSON.stringify(shown.payload) : `base64 ${shown.payload}`;
  return whole.length <= CHARS_MAX ? whole : `${whole.slice(0, CHARS_MAX)}… (${shown.bytes} bytes)`;
}
