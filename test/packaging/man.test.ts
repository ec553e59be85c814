/** The manual page and the package's texts: made from the sources, complete, always the same. */
import { describe, expect, it } from 'vitest';
import { EXIT } from '../../agent/src/cli/exit-codes.ts';
import { COMMANDS } from '../../agent/src/cli/table.ts';
import { changelog, control } from '../../packaging/control.ts';
import { manPage } from '../../packaging/man.ts';

const page = manPage({ version: '1.2.3', date: '2026-11-22' });

describe('the manual page', () => {
  it.each(COMMANDS.map(({ name }) => name))('has the command %s', (name) => {
    const typed = name.replaceAll('-', '\\-');
    const headings = page.split('\n').filter((line) => line.startsWith('.SS "'));
    expect(headings.filter((line) => /^[^ "]*/.exec(line.slice(5))?.[0] === typed)).not.toEqual([]);
  });

  it('has every exit status, version and date', () => {
    for (const status of Object.values(EXIT)) expect(page).toContain(`.B ${status}\n`);
    expect(page).toMatch(/^\.TH BLOCKTORRENT 1 "2026\\-11\\-22" "blocktorrent 1\.2\.3"/);
  });

  it('says options as they are typed, and begins no line of text with a request by accident', () => {
    expect(page).toContain('\\-\\-config');
    const requests = page.split('\n').filter((line) => /^[.']/.test(line));
    expect(requests.filter((line) => !/^\.(TH|SH|SS|TP|B|BR)( |$)/.test(line))).toEqual([]);
  });

  it('is the same each time', () => {
    expect(manPage({ version: '1.2.3', date: '2026-11-22' })).toBe(page);
  });
});

describe('the texts of the package', () => {
  const facts = { architecture: 'arm64', version: '1.2.3', epochSeconds: 1_764_000_000 } as const;

  it('name version, architecture and what the prebuilt addons need', () => {
    const text = control(facts, 1025);
    expect(text).toContain('Version: 1.2.3\nArchitecture: arm64\n');
    expect(text).toContain('Depends: libc6 (>= 2.34), libstdc++6 (>= 11)');
    expect(text).toContain('Installed-Size: 2\n');
  });

  it('are dated by SOURCE_DATE_EPOCH', () => {
    expect(changelog(facts)).toContain('>  Mon, 24 Nov 2025 16:00:00 +0000\n');
  });
});
