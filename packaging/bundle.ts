/**
 * The agent as it is installed: its modules and libraries in a few files, without types and comments.
 * A checkout runs from its sources.
 *
 * Enters: agent/bin/blocktorrent.js of a tree with its packages, and all that it loads by whatever
 * way. Leaves: one folder with the launcher, what is loaded later, and each program or thread that a
 * module names as `new URL('…', import.meta.url)`. Always holds: names and lines stay, so that a stack
 * trace can be read; all is ASCII, which V8 keeps in half the memory; native addons stay where they are.
 */
import { readFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { type Plugin, rolldown } from 'rolldown';

const SLIM = join(import.meta.dirname, 'slim');
/** Native, or never loaded by an agent: only gRPC's channelz loads descriptions of services. */
const LEFT = ['@grpc/proto-loader', 'better-sqlite3', 'koffi', 'pkcs11js'];
/** Libraries of which a part is enough; slim/NAME.cjs says which. */
const SLIMMED = ['@hyperledger/fabric-protos', 'systeminformation'];
const MODULE_URL = /new URL\('(\.[^']+)', import\.meta\.url\)/g;

/** Writes the bundle of the tree `root` (absolute) into `folder`, as `agent/bin` of an installation. */
export async function bundleAgent(root: string, folder: string): Promise<void> {
  const bundle = await rolldown({
    cwd: root,
    input: join(root, 'agent/bin/blocktorrent.js'),
    platform: 'node',
    external: LEFT,
    plugins: [slim(root), urls(root), ascii],
  });
  await bundle.write({
    dir: folder,
    format: 'esm',
    entryFileNames: '[name].js',
    chunkFileNames: '[name].js',
    comments: false,
  });
  await bundle.close();
}

/** The part of a library stands for it, as if it lay in `root`. */
function slim(root: string): Plugin {
  const path = (source: string) => join(root, `${basename(source)}.cjs`);
  const paths = SLIMMED.map(path);
  return {
    name: 'parts of large libraries',
    resolveId: (source) => (SLIMMED.includes(source) ? path(source) : null),
    load: (id) => (paths.includes(id) ? readFileSync(join(SLIM, basename(id)), 'utf8') : null),
  };
}

/** A file of the agent that a module names becomes an entry; another stays where it is. */
function urls(root: string): Plugin {
  const sources = join(root, 'agent/src');
  return {
    name: 'files that modules name',
    transform(code, id) {
      if (!id.startsWith(sources)) return null;
      return code.replace(MODULE_URL, (_all, path: string) => {
        const target = resolve(dirname(id), path);
        if (!target.startsWith(sources)) {
          return `new URL('${relative(join(root, 'agent/bin'), target)}', import.meta.url)`;
        }
        const fileName = `${basename(target, '.ts')}.js`;
        this.emitFile({ type: 'chunk', id: target, fileName });
        return `new URL('./${fileName}', import.meta.url)`;
      });
    },
  };
}

const ascii: Plugin = {
  name: 'ASCII only',
  generateBundle(_options, files) {
    for (const file of Object.values(files)) {
      if (file.type === 'chunk') file.code = file.code.replace(/[^\0-\x7f]/g, escaped);
    }
  },
};

function escaped(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
