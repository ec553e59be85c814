/**
 * The stream from one organisation's peer to one chaincode that runs as an external service: the
 * ledger dials, the chaincode registers, transactions go in and requests come out. Dials again
 * until stopped. Never sends KEEPALIVE: the Node shim exits on messages that it does not know.
 */
import { type ClientDuplexStream, credentials } from '@grpc/grpc-js';
import { peer } from '@hyperledger/fabric-protos';
import { answerRequest } from './shim-requests.ts';
import { SimulationError, type Simulator } from './simulator.ts';

const { Type } = peer.ChaincodeMessage;
type Stream = ClientDuplexStream<peer.ChaincodeMessage, peer.ChaincodeMessage>;

/** Pause before a new attempt; short, because a demo waits for it. */
const REDIAL_MS = 40;

/** How to reach a chaincode. TLS material is PEM. */
export interface ChaincodeTarget {
  readonly name: string;
  readonly address: string;
  readonly tls?: { readonly rootCert: Buffer; readonly cert?: Buffer; readonly key?: Buffer };
}

/** One transaction to run. */
export interface Execution {
  readonly channel: string;
  readonly txId: string;
  /** ChaincodeInput bytes. */
  readonly input: Uint8Array;
  readonly proposal: peer.SignedProposal;
  readonly simulator: Simulator;
}

/** What the chaincode answered; `status` 200 is success, 500 an error that it threw. */
export interface ExecutionResult {
  readonly response: peer.Response;
  readonly event: peer.ChaincodeEvent | null;
}

/** The chaincode could not be reached, died or took too long. */
export class ChaincodeUnavailableError extends Error {
  override readonly name = 'ChaincodeUnavailableError';
}

interface Running {
  readonly simulator: Simulator;
  readonly resolve: (result: ExecutionResult) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

export class ChaincodeStream {
  readonly #target: ChaincodeTarget;
  readonly #timeoutMs: number;
  readonly #running = new Map<string, Running>();
  #client: peer.ChaincodeClient | null = null;
  #stream: Stream | null = null;
  #redial: NodeJS.Timeout | null = null;
  #ready = Promise.withResolvers<void>();
  #isReady = false;

  constructor(target: ChaincodeTarget, timeoutMs: number) {
    this.#target = target;
    this.#timeoutMs = timeoutMs;
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  /** Resolves when the chaincode has registered. */
  async ready(): Promise<void> {
    await this.#ready.promise;
  }

  start(): void {
    this.#client ??= new peer.ChaincodeClient(
      this.#target.address,
      this.#target.tls === undefined
        ? credentials.createInsecure()
        : credentials.createSsl(
            this.#target.tls.rootCert,
            this.#target.tls.key ?? null,
            this.#target.tls.cert ?? null,
          ),
      {
        'grpc.initial_reconnect_backoff_ms': 50,
        'grpc.max_reconnect_backoff_ms': 500,
        'grpc.max_receive_message_length': -1,
        'grpc.max_send_message_length': -1,
        // Each organisation has its own connection, even to the same process.
        'grpc.use_local_subchannel_pool': 1,
      },
    );
    this.#dial(this.#client);
  }

  stop(): void {
    if (this.#redial !== null) {
      clearTimeout(this.#redial);
      this.#redial = null;
    }
    const stream = this.#stream;
    const client = this.#client;
    this.#stream = null;
    this.#client = null;
    stream?.cancel();
    client?.close();
    this.#fail('the peer was stopped');
  }

  /** Runs one transaction; throws ChaincodeUnavailableError. */
  async execute(execution: Execution): Promise<ExecutionResult> {
    const { channel, txId, simulator } = execution;
    const stream = this.#stream;
    if (stream === null || !this.#isReady) {
      throw new ChaincodeUnavailableError(`chaincode ${this.#target.name} is not connected`);
    }
    if (this.#running.has(txId)) {
      throw new ChaincodeUnavailableError(`transaction ${txId} is running already`);
    }
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#running.delete(txId);
        reject(new ChaincodeUnavailableError('timeout expired while executing transaction'));
      }, this.#timeoutMs);
      this.#running.set(txId, { simulator, resolve, reject, timer });
      const message = messageOf(Type.TRANSACTION, channel, txId, execution.input);
      message.setProposal(execution.proposal);
      stream.write(message);
    });
  }

  #dial(client: peer.ChaincodeClient): void {
    const stream: Stream = client.connect();
    this.#stream = stream;
    stream.on('data', (message: peer.ChaincodeMessage) => this.#receive(stream, message));
    const over = () => {
      if (this.#stream === stream) {
        this.#stream = null;
        this.#fail('the chaincode closed its stream');
        this.#redial = setTimeout(() => this.#dial(client), REDIAL_MS);
      }
    };
    // After an error the stream has ended; both lead to one new attempt.
    stream.on('error', over);
    stream.on('end', over);
  }

  #receive(stream: Stream, message: peer.ChaincodeMessage): void {
    switch (message.getType()) {
      case Type.REGISTER:
        stream.write(messageOf(Type.REGISTERED, '', '', new Uint8Array()));
        stream.write(messageOf(Type.READY, '', '', new Uint8Array()));
        this.#isReady = true;
        this.#ready.resolve();
        return;
      case Type.COMPLETED:
        this.#take(message.getTxid())?.resolve({
          response: peer.Response.deserializeBinary(message.getPayload_asU8()),
          event: message.getChaincodeEvent() ?? null,
        });
        return;
      case Type.ERROR: {
        const text = Buffer.from(message.getPayload_asU8()).toString();
        this.#take(message.getTxid())?.reject(new ChaincodeUnavailableError(text));
        return;
      }
      default:
        this.#answer(stream, message);
    }
  }

  #answer(stream: Stream, message: peer.ChaincodeMessage): void {
    const txId = message.getTxid();
    const running = this.#running.get(txId);
    let type: peer.ChaincodeMessage.TypeMap[keyof peer.ChaincodeMessage.TypeMap] = Type.RESPONSE;
    let payload: Uint8Array;
    try {
      if (running === undefined) {
        throw new SimulationError(`no transaction ${txId} is running`);
      }
      payload = answerRequest(running.simulator, message);
    } catch (error) {
      // A refusal, or bytes that are no such message: the chaincode is told, the ledger goes on.
      type = Type.ERROR;
      payload = Buffer.from(error instanceof Error ? error.message : String(error));
    }
    stream.write(messageOf(type, message.getChannelId(), txId, payload));
  }

  #take(txId: string): Running | undefined {
    const running = this.#running.get(txId);
    this.#running.delete(txId);
    clearTimeout(running?.timer);
    return running;
  }

  #fail(reason: string): void {
    if (this.#isReady) {
      this.#isReady = false;
      this.#ready = Promise.withResolvers();
    }
    for (const txId of [...this.#running.keys()]) {
      this.#take(txId)?.reject(new ChaincodeUnavailableError(reason));
    }
  }
}

function messageOf(
  type: peer.ChaincodeMessage.TypeMap[keyof peer.ChaincodeMessage.TypeMap],
  channel: string,
  txId: string,
  payload: Uint8Array,
): peer.ChaincodeMessage {
  const message = new peer.ChaincodeMessage();
  message.setType(type);
  message.setChannelId(channel);
  message.setTxid(txId);
  message.setPayload(payload);
  return message;
}
