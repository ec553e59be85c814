/** The file that a fetched ciphertext is put together in, kept from one try to the next. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { type FileHandle, open, rename } from 'node:fs/promises';

const READ_BYTES = 1024 * 1024;

/** Opens `path`, made if it is missing; with all of it from an earlier run where `outputPath` is there. */
export async function openPart(path: string, outputPath: string): Promise<FileHandle> {
  if (existsSync(outputPath) && !existsSync(path)) await rename(outputPath, path);
  await (await open(path, 'a', 0o600)).close();
  return open(path, 'r+');
}

/** SHA-256 of all that is in the file, as hex. */
export async function sha256Of(file: FileHandle): Promise<string> {
  const hash = createHash('sha256');
  const part = Buffer.allocUnsafe(READ_BYTES);
  for (let position = 0; ; ) {
    const { bytesRead } = await file.read(part, 0, part.length, position);
    if (bytesRead === 0) return hash.digest('hex');
    hash.update(part.subarray(0, bytesRead));
    position += bytesRead;
  }
}
