/**
 * `${VAR}`, `${VAR:-default}` and `${VAR:?message}` in a value, as a shell has them: an empty
 * variable counts as not set. `$${` stands for a literal `${`. Values are never expanded twice.
 */

/** Text with everything replaced, or what was expected of the environment and what was found. */
export type Expansion =
  | { readonly text: string }
  | { readonly expected: string; readonly found: string };

const REFERENCE = /\$?\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::([-?])([^}]*))?\})?/g;

/** Replaces every reference in `value` from `env`. */
export function expand(
  value: string,
  env: Readonly<Record<string, string | undefined>>,
): Expansion {
  let failure: Expansion | null = null;
  const text = value.replace(
    REFERENCE,
    (
      whole: string,
      name: string | undefined,
      operator: string | undefined,
      rest: string | undefined,
    ) => {
      if (whole.startsWith('$$')) return whole.slice(1);
      if (name === undefined) {
        failure ??= {
          // biome-ignore lint/suspicious/noTemplateCurlyInString: the notation itself
          expected: '${NAME}, ${NAME:-default} or ${NAME:?message}',
          found: `'${value}'`,
        };
        return whole;
      }
      const found = env[name] ?? '';
      if (found !== '') return found;
      if (operator === '-') return rest ?? '';
      if (operator === undefined && env[name] !== undefined) return '';
      const why = rest === undefined || rest === '' ? '' : `: ${rest}`;
      failure ??= {
        expected: `the environment variable ${name} to be set${why}`,
        found: 'it empty or unset',
      };
      return '';
    },
  );
  return failure ?? { text };
}
