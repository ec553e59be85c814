import { OwnersDirectory, type OwnersDirectoryOptions } from '@blocktorrent/agent/readers.ts';
import { toHex } from '@blocktorrent/protocol/bytes.ts';
import { expect, it } from 'vitest';

type Peer = ReturnType<OwnersDirectoryOptions['membership']['peers']>[number];

const peer = (mspId: string, key: number): Peer => ({
  mspId,
  name: 'store-1',
  overlayKey: toHex(new Uint8Array(32).fill(key)),
  roles: ['store'],
  keys: [],
  dhtAddress: '',
});

it('forgets the addresses of peers that left or have another key', async () => {
  let nowMs = 0;
  let peers = [peer('Org1MSP', 1), peer('Org2MSP', 2)];
  const owners = new OwnersDirectory({
    membership: { peers: () => peers },
    addressBook: { lookup: async (key) => ({ host: '127.0.0.1', port: key[0] ?? 0 }) },
    own: () => null,
    monotonicMs: () => nowMs,
  });
  const ports = async () => (await owners.all()).map(({ port }) => port);
  expect(await ports()).toEqual([1, 2]);
  peers = [peer('Org1MSP', 3)];
  nowMs = 10_000;
  expect(await ports()).toEqual([3]);
});
