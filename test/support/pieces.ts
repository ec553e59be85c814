/** Bytes as async pieces, and back. */

/** `bytes` in pieces of `pieceBytes` each. */
export async function* piecesOf(
  bytes: Uint8Array,
  pieceBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let start = 0; start < bytes.length; start += pieceBytes) {
    yield bytes.subarray(start, start + pieceBytes);
  }
}

/** All that a source gives, as one. */
export async function gather(source: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of source) pieces.push(piece);
  return Uint8Array.from(Buffer.concat(pieces));
}
