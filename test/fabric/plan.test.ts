/** What needs no Fabric programs: finding them, packages, the channel's policies. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findBinaries, isVersion2, missingBinaries } from '../../fabric/src/binaries.ts';
import { configtx, majorityOf, PROFILE } from '../../fabric/src/configtx.ts';
import { definitionsFor, signaturePolicy, writeDefinitions } from '../../fabric/src/definition.ts';
import { packageChaincode } from '../../fabric/src/package.ts';
import { peerConfig } from '../../fabric/src/peer-config.ts';
import { type NetworkPlan, organisationsWithPeer, planNetwork } from '../../fabric/src/plan.ts';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'fabric-plan-'));
});
afterAll(async () => await rm(dir, { recursive: true, force: true }));

async function plan(organisations: number, consensus: 'raft' | 'bft'): Promise<NetworkPlan> {
  return await planNetwork({
    dir,
    organisations,
    consensus,
    blockIntervalMs: 200,
    channel: 'blocktorrent',
  });
}

describe('Fabric’s programs', () => {
  it('are named when they are missing, with the way to point at them', async () => {
    const programs = ['peer', 'orderer', 'configtxgen', 'osnadmin'];
    for (const program of programs.slice(0, 2)) {
      await writeFile(join(dir, program), '#!/bin/sh\n', { mode: 0o755 });
    }
    await writeFile(join(dir, 'osnadmin'), 'not executable', { mode: 0o644 });
    const reason = missingBinaries({ FABRIC_BIN: dir });
    expect(reason).toContain(`not found in FABRIC_BIN=${dir}: configtxgen, osnadmin.`);
    expect(reason).toContain('set FABRIC_BIN to its bin folder');
    expect(missingBinaries({ PATH: '' })).toContain('not found on PATH: peer, orderer');
    for (const program of programs) {
      await rm(join(dir, program), { force: true });
      await writeFile(join(dir, program), '#!/bin/sh\n', { mode: 0o755 });
    }
    expect(findBinaries({ PATH: `/nowhere:${dir}` }).peer).toBe(join(dir, 'peer'));
  });

  it.each([
    ['v2.5.16', true],
    ['v3.1.5', false],
    ['latest', false],
  ])('of version %s are Fabric 2: %s', async (version, expected) => {
    const said = `#!/bin/sh\nprintf 'peer:\\n Version: ${version}\\n Go version: go1.26.8\\n'\n`;
    for (const program of ['peer', 'orderer', 'configtxgen', 'osnadmin']) {
      await writeFile(join(dir, program), said, { mode: 0o755 });
    }
    expect(await isVersion2(findBinaries({ FABRIC_BIN: dir }))).toBe(expected);
  });
});

describe('a chaincode package', () => {
  it('has the same id wherever it is made', () => {
    const { packageId, bytes } = packageChaincode('keys', '0.1.0');
    expect(packageId).toBe(
      'keys_0.1.0:bfa3cf90fec8181087ce06f00ff08f2aa4e62fa37bfef57b4dbbdcd879965277',
    );
    const tar = gunzipSync(bytes).toString('latin1');
    expect(tar).toContain('{"type":"ccaas","label":"keys_0.1.0"}');
    expect(tar.slice(0, 13)).toBe('metadata.json');
  });
});

describe('the definitions that administrators agree on', () => {
  const membership = { members: ['B', 'A', 'C'], former: ['D'], keeper: 'AuditorMSP' };

  it('need a majority of peers for ledger, one for keys', () => {
    expect(definitionsFor(membership).map(signaturePolicy)).toEqual([
      "OutOf(2, 'A.peer', 'B.peer', 'C.peer')",
      "OutOf(1, 'A.peer', 'B.peer', 'C.peer')",
    ]);
  });

  it('give each member a collection, and a former one’s to nobody who has a peer', () => {
    const [ledger, keys] = definitionsFor(membership);
    expect(ledger?.collections).toEqual([]);
    expect(keys?.collections.map(({ name, memberOrgs }) => [name, ...memberOrgs])).toEqual([
      ['shards-A', 'A'],
      ['shards-B', 'B'],
      ['shards-C', 'C'],
      ['shards-D', 'AuditorMSP'],
    ]);
  });

  it('are written the way the peer command reads them', async () => {
    const [, keys] = await writeDefinitions(membership, dir);
    const collections = JSON.parse(await readFile(keys?.collectionsFile ?? '', 'utf8'));
    expect(collections[0]).toEqual({
      ...{ name: 'shards-A', policy: "OR('A.member')", memberOnlyRead: true },
      ...{ memberOnlyWrite: false, requiredPeerCount: 0, maxPeerCount: 8, blockToLive: 0 },
    });
  });

  it('cannot count an organisation in and out at once', () => {
    const both = { ...membership, former: ['A'] };
    expect(() => definitionsFor(both)).toThrow('A cannot be a member as well');
  });
});

describe('the channel', () => {
  const profileOf = (config: Record<string, unknown>) =>
    (config.Profiles as Record<string, Record<string, unknown>>)[PROFILE] ?? {};

  it('is governed by a majority of the organisations with peers, the auditor left out', async () => {
    const { Application } = profileOf(configtx(await plan(4, 'raft')));
    const majority = "OutOf(3, 'Org1MSP.peer', 'Org2MSP.peer', 'Org3MSP.peer', 'Org4MSP.peer')";
    expect(Application).toMatchObject({
      Policies: {
        LifecycleEndorsement: { Type: 'Signature', Rule: majority },
        Endorsement: { Type: 'Signature', Rule: majority },
        Admins: { Type: 'Signature', Rule: majority.replaceAll('.peer', '.admin') },
      },
    });
    const organisations = (Application as { Organizations: { ID: string }[] }).Organizations;
    expect(organisations.map(({ ID }) => ID)).toContain('AuditorMSP');
    expect(majorityOf(['A', 'B', 'C'], 'peer')).toBe("OutOf(2, 'A.peer', 'B.peer', 'C.peer')");
    expect(majorityOf(['A'], 'peer')).toBe("OutOf(1, 'A.peer')");
  });

  it('asks for V3_0 where BFT needs it, and otherwise for what Fabric 2.5 knows', async () => {
    expect(profileOf(configtx(await plan(4, 'bft'))).Capabilities).toEqual({ V3_0: true });
    expect(profileOf(configtx(await plan(2, 'raft'))).Capabilities).toEqual({ V2_0: true });
  });

  it('has four orderers under BFT, of as many organisations as there are', async () => {
    const owners = (await plan(2, 'bft')).orderers.map(({ mspId }) => mspId);
    expect(owners).toEqual(['Org1MSP', 'Org2MSP', 'Org1MSP', 'Org2MSP']);
    const { dir: _, ...rest } = await plan(1, 'raft');
    await expect(planNetwork({ ...rest, dir, organisations: 4, orderers: 0 })).rejects.toThrow(
      'orderers must be 1..16, got 0',
    );
  });

  it('gives each process ports of its own', async () => {
    const { organisations, orderers } = await plan(10, 'bft');
    const ports = [
      ...organisations.flatMap(({ peer }) =>
        peer === null ? [] : [peer.port, peer.operationsPort, peer.chaincodePort],
      ),
      ...orderers.flatMap(({ port, adminPort, operationsPort }) => [
        port,
        adminPort,
        operationsPort,
      ]),
    ];
    expect(new Set(ports).size).toBe(3 * (10 + 4));
  });
});

describe('gossip between peers', () => {
  it.each([
    [2, '1s', '10s'],
    [4, '1s', '10s'],
    [11, '3s', '30s'],
    [40, '4s', '40s'],
  ])(
    'of %i organisations has a sign of life every %s, missed for %s',
    async (count, alive, dead) => {
      const made = await plan(count, 'raft');
      const [first] = organisationsWithPeer(made);
      if (first === undefined) throw new Error('no organisation has a peer');
      const { peer } = peerConfig(made, first.mspId, first.peer, false);
      expect(peer).toMatchObject({
        gossip: { aliveTimeInterval: alive, aliveExpirationTimeout: dead },
      });
    },
  );
});
