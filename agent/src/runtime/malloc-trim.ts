/**
 * glibc's malloc_trim(3): what has been freed and holds whole pages goes back to the system.
 *
 * glibc itself gives back only what lies at the end of its heap; sealing, links that come and go and
 * garbage that is collected leave holes in it. Limits by its environment (`MALLOC_TRIM_THRESHOLD_`)
 * have every frame that is compressed take new pages, which costs a tenth of the seal's rate.
 */

/** A function that trims, from when koffi is loaded, which its first call does; elsewhere than on glibc it does nothing. */
export function mallocTrim(): () => void {
  let trim: (() => void) | null = null;
  return () => {
    if (trim === null) {
      trim = () => undefined;
      void load().then((loaded) => {
        trim = loaded;
        loaded();
      });
    }
    trim();
  };
}

async function load(): Promise<() => void> {
  try {
    const { default: koffi } = await import('koffi');
    const call = koffi.load(null).func('int malloc_trim(size_t pad)');
    return () => void call(0);
  } catch {
    // musl and others have no such function, and need none.
    return () => undefined;
  }
}
