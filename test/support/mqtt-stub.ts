/** Something that answers MQTT packets as a test tells it to, in place of a broker. */
import { createServer, type Socket } from 'node:net';

/** Called with each packet; one comes in one piece here. */
export type Answer = (socket: Socket, packet: Buffer) => void;

/** CONNACK of MQTT 5: accepted, session not present, no properties. */
export const CONNACK = Buffer.from([0x20, 3, 0, 0, 0]);

/** A PUBLISH of MQTT 5 at QoS 1 with a topic alias. */
export function publishPacket(
  topic: string,
  messageId: number,
  alias: number,
  payload: string,
): Buffer {
  const name = Buffer.from(topic);
  const body = Buffer.concat([
    Buffer.from([0, name.length]),
    name,
    Buffer.from([0, messageId, 3, 0x23, 0, alias]),
    Buffer.from(payload),
  ]);
  return Buffer.concat([Buffer.from([0x32, body.length]), body]);
}

/** Listens on a free loopback port. */
export async function startStub(answer: Answer): Promise<{ url: string; stop(): Promise<void> }> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    socket.on('data', (packet: Buffer) => answer(socket, packet));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return {
    url: `mqtt://127.0.0.1:${address !== null && typeof address === 'object' ? address.port : 0}`,
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
