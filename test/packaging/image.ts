/**
 * buildah with a storage of its own below the test's folder, and a base image from our base tree, by
 * the name that the Dockerfile asks for: nothing is pulled from a registry.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { nicely } from './packages.ts';

export class Images {
  readonly #storage: readonly string[];

  constructor(folder: string) {
    this.#storage = [
      ...['--storage-driver', 'overlay'],
      ...['--root', join(folder, 'storage'), '--runroot', join(folder, 'run')],
    ];
  }

  /** Runs a buildah command; returns its standard output without the last line break. */
  async buildah(...args: readonly string[]): Promise<string> {
    return (await nicely('buildah', [...this.#storage, ...args])).trimEnd();
  }

  /** Makes an image from a tar file. */
  async importTar(tar: string, name: string, architecture: string): Promise<void> {
    const container = await this.buildah('from', '--arch', architecture, 'scratch');
    await this.buildah('add', '--quiet', container, tar, '/');
    await this.buildah('config', '--arch', architecture, '--os', 'linux', container);
    await this.buildah('commit', '--quiet', '--rm', '--format', 'docker', container, name);
  }

  /** Builds a Dockerfile for arm64 with what is local. */
  async build(dockerfile: string, context: string, name: string): Promise<void> {
    await mkdir(context, { recursive: true });
    await this.buildah(
      ...['bud', '--isolation', 'chroot', '--arch', 'arm64', '--pull-never', '--format', 'docker'],
      ...['--quiet', '-f', dockerfile, '-t', name, context],
    );
  }

  /** A container's file system, mounted. */
  async mounted(name: string): Promise<{ container: string; path: string }> {
    const container = await this.buildah('from', '--arch', 'arm64', '--pull-never', name);
    return { container, path: await this.buildah('mount', container) };
  }

  /** Unmounts and removes every container and image, so that the folder can be removed. */
  async end(): Promise<void> {
    await this.buildah('umount', '--all');
    await this.buildah('rm', '--all');
    await this.buildah('rmi', '--all', '--force');
  }
}
