/**
 * The one error of this folder: what could not be done, and what helps. `code` says which step.
 */

/**
 * `binaries`: Fabric's programs are missing; `usage`: wrong arguments or folder; `start`: a process
 * died or was not ready in time; `command`: one of Fabric's programs failed.
 */
export type FabricErrorCode = 'binaries' | 'usage' | 'start' | 'command';

export class FabricError extends Error {
  override readonly name = 'FabricError';
  readonly code: FabricErrorCode;

  constructor(code: FabricErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
