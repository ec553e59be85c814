/**
 * Who may connect, publish and subscribe: users and topic rules from a file, replaced as a whole.
 *
 * Enters: the file's text; names, passwords and topics of clients. Leaves: yes or no. Always holds:
 * what no rule allows is refused; topics that begin with `$` are allowed only by a rule that begins
 * with `$` [MQTT-4.7.2-1]; a name that is no single level of a topic fits no rule with `{user}` or
 * `{client}` in it. Rules are asked for at each publish, so that a new file counts at once.
 */
import { filterFault, matchesFilter, TOPIC_FILTER } from '@blocktorrent/protocol/topic-filter.ts';
import { z } from 'zod';
import { isPasswordHash, type PasswordChecker } from './password.ts';
import { parseYaml, readYamlFile } from './yaml-file.ts';

const filter = z.string().superRefine((value, context) => {
  const fault = filterFault(value);
  if (fault === null) return;
  context.addIssue({ code: 'custom', message: `${TOPIC_FILTER}; here ${fault}` });
});
const filters = z.array(filter, { error: 'a list of topic filters' }).default([]);
const rules = { publish: filters, subscribe: filters };
const user = z
  .strictObject(
    {
      password: z
        .string({ error: 'a hash from `hash-password`' })
        .refine(isPasswordHash, { error: 'a hash from `hash-password`, scrypt$…' })
        .exactOptional(),
      certificate: z.boolean({ error: 'true or false' }).default(false),
      ...rules,
    },
    { error: (issue) => (issue.code === 'invalid_type' ? 'a section' : undefined) },
  )
  .refine(({ password, certificate }) => password !== undefined || certificate, {
    error: '`password`, or `certificate: true`',
  });
const schema = z
  .strictObject({
    anonymous: z.strictObject(rules).exactOptional(),
    users: z.record(z.string().regex(/^[^\0]{1,256}$/, { error: 'a user name' }), user).default({}),
  })
  // A file that is being written is empty for a moment, and would end everybody.
  .refine(({ anonymous, users }) => anonymous !== undefined || Object.keys(users).length > 0, {
    error: '`users` or `anonymous`',
  });

type Rules = { readonly publish: readonly string[]; readonly subscribe: readonly string[] };
type Users = z.output<typeof schema>;

/** A client that may be here. */
export interface Identity {
  /** Null: anonymous. */
  readonly user: string | null;
  readonly clientId: string;
  /** What it has shown; when the file no longer says the same, it has to go. */
  readonly proof: string;
}

/** Everybody may do everything but `$`; reading `$SYS` is allowed. */
export const OPEN: Users = {
  anonymous: { publish: ['#'], subscribe: ['#', '$SYS/#'] },
  users: {},
};

/** Reads a file of users. @throws FileError with every problem */
export function readUsers(path: string): Users {
  return readYamlFile(path, schema);
}

/** The same for text. @throws FileError */
export function parseUsers(text: string, file: string): Users {
  return parseYaml(text, file, schema);
}

/** The rules in force. */
export class Access {
  readonly #passwords: PasswordChecker;
  #users: Users;

  constructor(users: Users, passwords: PasswordChecker) {
    this.#users = users;
    this.#passwords = passwords;
  }

  /** From here on these. */
  replace(users: Users): void {
    this.#users = users;
  }

  /**
   * Who a client is; null for nobody. `certificate` is the common name of its verified certificate.
   * @throws TooManyPasswordsError
   */
  async identify(
    clientId: string,
    given: { username?: string; password?: Uint8Array; certificate?: string },
  ): Promise<Identity | null> {
    const name = this.#users === OPEN ? undefined : (given.username ?? given.certificate);
    if (name === undefined) {
      return this.#users.anonymous === undefined ? null : { user: null, clientId, proof: '' };
    }
    const known = Object.hasOwn(this.#users.users, name) ? this.#users.users[name] : undefined;
    if (known?.certificate === true && given.certificate === name) {
      return { user: name, clientId, proof: 'certificate' };
    }
    // Who does not exist takes as long as who gives a wrong password.
    const hash = known?.password ?? NOBODY;
    const right = await this.#passwords.check(given.password ?? new Uint8Array(0), hash);
    return right && known?.password !== undefined ? { user: name, clientId, proof: hash } : null;
  }

  /** Whether the rules still know this client as it came. */
  stands({ user, proof }: Identity): boolean {
    if (user === null) return this.#users.anonymous !== undefined;
    const known = Object.hasOwn(this.#users.users, user) ? this.#users.users[user] : undefined;
    if (known === undefined) return false;
    return proof === 'certificate' ? known.certificate : known.password === proof;
  }

  /** Whether there is such a user. */
  knows(user: string): boolean {
    return Object.hasOwn(this.#users.users, user);
  }

  mayPublish(identity: Identity, topic: string): boolean {
    return this.#rulesOf(identity).publish.some((allowed) => {
      const pattern = filled(allowed, identity);
      return pattern !== null && matchesFilter(pattern, topic);
    });
  }

  /** Whether a message of this topic may go to the client. */
  mayRead(identity: Identity, topic: string): boolean {
    return this.#rulesOf(identity).subscribe.some((allowed) => {
      const pattern = filled(allowed, identity);
      return pattern !== null && matchesFilter(pattern, topic);
    });
  }

  /** Whether everything that `wanted` means is allowed. */
  maySubscribe(identity: Identity, wanted: string): boolean {
    return this.#rulesOf(identity).subscribe.some((allowed) => {
      const pattern = filled(allowed, identity);
      return pattern !== null && covers(pattern, wanted);
    });
  }

  #rulesOf({ user }: Identity): Rules {
    const none = { publish: [], subscribe: [] };
    if (user === null) return this.#users.anonymous ?? none;
    return (Object.hasOwn(this.#users.users, user) ? this.#users.users[user] : undefined) ?? none;
  }
}

/** A hash that no password is known for. */
const NOBODY =
  'scrypt$ln=15,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA';

function filled(pattern: string, { user, clientId }: Identity): string | null {
  let fits = true;
  const text = pattern.replace(/\{(user|client)\}/g, (_whole, what: string) => {
    const name = what === 'user' ? user : clientId;
    if (name === null || name === '' || /[/+#$]/.test(name)) fits = false;
    return name ?? '';
  });
  return fits ? text : null;
}

/** Whether all topics of `wanted` are topics of `allowed`. */
export function covers(allowed: string, wanted: string): boolean {
  // A wildcard at the front means no topic with `$`, so neither filter may reach into the other's.
  if (wanted.startsWith('$') !== allowed.startsWith('$')) return false;
  const have = allowed.split('/');
  const want = wanted.split('/');
  for (const [index, level] of have.entries()) {
    if (level === '#') return true;
    const asked = want[index];
    if (asked === undefined || asked === '#') return false;
    if (level !== '+' && level !== asked) return false;
  }
  return have.length === want.length;
}
