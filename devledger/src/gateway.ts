/**
 * Fabric's gateway service as one organisation's peer offers it: Evaluate, Endorse, Submit,
 * CommitStatus, ChaincodeEvents over TLS. Whatever else is called answers UNIMPLEMENTED.
 */
import {
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import { common, gateway, peer as peerProtos } from '@hyperledger/fabric-protos';
import { type Endorsers, endorse, evaluate } from './endorsement.ts';
import { startBlock, streamEvents } from './event-stream.ts';
import { GatewayFailure, serviceError } from './gateway-error.ts';
import { IdentityError, isSignedBy } from './identity.ts';
import type { Orderer } from './orderer.ts';
import type { Peer } from './peer.ts';
import {
  type CheckedProposal,
  checkProposal,
  ProposalError,
  type ProposalRules,
} from './proposal.ts';
import type { Store } from './store.ts';
import { EnvelopeError, examineEnvelope } from './transaction.ts';

/** Requests of one peer that may run at the same time, Fabric's default. */
const CONCURRENCY_MAX = 500;
/** Fabric's default bound of one message. */
const MESSAGE_BYTES_MAX = 100 * 1024 * 1024;

/** What every gateway of the channel shares. */
export interface GatewayContext extends Endorsers {
  readonly rules: ProposalRules;
  readonly store: Store;
  readonly orderer: Orderer;
}

/** One organisation's gateway listener. */
export class Gateway {
  readonly #context: GatewayContext;
  readonly #peer: Peer;
  #server: Server | null = null;
  #running = 0;

  constructor(context: GatewayContext, peer: Peer) {
    this.#context = context;
    this.#peer = peer;
  }

  /** Listens on `host:port`; resolves with the port. */
  async start(listen: string): Promise<number> {
    const server = new Server({
      'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
      'grpc.max_send_message_length': -1,
    });
    server.addService(gateway.GatewayService, {
      evaluate: this.#unary((request) => this.#evaluate(request)),
      endorse: this.#unary((request) => this.#endorse(request)),
      submit: this.#unary((request) => this.#submit(request)),
      commitStatus: this.#unary((request, call) => this.#commitStatus(request, call)),
      chaincodeEvents: (call: Parameters<typeof streamEvents>[0]) => {
        try {
          this.#chaincodeEvents(call);
        } catch (error) {
          call.emit('error', serviceError(error));
        }
      },
    });
    const credentials = ServerCredentials.createSsl(null, [
      { cert_chain: Buffer.from(this.#peer.certificate), private_key: Buffer.from(this.#peer.key) },
    ]);
    this.#server = server;
    return await new Promise((resolve, reject) => {
      server.bindAsync(listen, credentials, (error, port) => {
        if (error === null) {
          resolve(port);
        } else {
          reject(error);
        }
      });
    });
  }

  /** Closes the listener and every connection at once. */
  stop(): void {
    this.#server?.forceShutdown();
    this.#server = null;
  }

  #unary<Q, R>(handle: (request: Q, call: ServerUnaryCall<Q, R>) => Promise<R> | R) {
    return (call: ServerUnaryCall<Q, R>, callback: sendUnaryData<R>): void => {
      if (this.#running >= CONCURRENCY_MAX) {
        const message = 'too many requests for this gateway, try again';
        callback(serviceError(new GatewayFailure(status.RESOURCE_EXHAUSTED, message)));
        return;
      }
      this.#running += 1;
      const answer = async () => await handle(call.request, call);
      answer()
        .finally(() => {
          this.#running -= 1;
        })
        .then(
          (response) => callback(null, response),
          (error: unknown) => callback(serviceError(error)),
        );
    };
  }

  async #evaluate(request: gateway.EvaluateRequest): Promise<gateway.EvaluateResponse> {
    const proposal = this.#check(request.getProposedTransaction());
    const targets = request.getTargetOrganizationsList();
    const response = new gateway.EvaluateResponse();
    response.setResult(await evaluate(this.#context, this.#peer, proposal, targets));
    return response;
  }

  async #endorse(request: gateway.EndorseRequest): Promise<gateway.EndorseResponse> {
    const proposal = this.#check(request.getProposedTransaction());
    if (this.#context.store.transaction(proposal.txId) !== null) {
      throw this.#failure(
        status.ABORTED,
        `duplicate transaction found [${proposal.txId}]. Creator ${proposal.creator.mspId}`,
      );
    }
    const organisations = request.getEndorsingOrganizationsList();
    const response = new gateway.EndorseResponse();
    const envelope = await endorse(this.#context, this.#peer, proposal, organisations);
    response.setPreparedTransaction(envelope);
    return response;
  }

  #submit(request: gateway.SubmitRequest): gateway.SubmitResponse {
    const { rules, peers, orderer } = this.#context;
    const envelope = request.getPreparedTransaction() ?? new common.Envelope();
    try {
      const transaction = examineEnvelope(envelope, rules.channel, rules.msps, peers);
      orderer.enqueue(transaction);
    } catch (error) {
      if (error instanceof EnvelopeError) {
        throw this.#failure(status.ABORTED, error.message);
      }
      throw error;
    }
    return new gateway.SubmitResponse();
  }

  async #commitStatus(
    signed: gateway.SignedCommitStatusRequest,
    call: ServerUnaryCall<gateway.SignedCommitStatusRequest, gateway.CommitStatusResponse>,
  ): Promise<gateway.CommitStatusResponse> {
    const bytes = signed.getRequest_asU8();
    const request = gateway.CommitStatusRequest.deserializeBinary(bytes);
    this.#permit(request.getIdentity_asU8(), bytes, signed.getSignature_asU8());
    this.#sameChannel(request.getChannelId());
    const txId = request.getTransactionId();
    const outcome = this.#context.store.transaction(txId) ?? (await this.#committed(txId, call));
    const response = new gateway.CommitStatusResponse();
    const code = Object.values(peerProtos.TxValidationCode).find((each) => each === outcome.code);
    response.setResult(code ?? peerProtos.TxValidationCode.INVALID_OTHER_REASON);
    response.setBlockNumber(outcome.block);
    return response;
  }

  /** Waits for a block that has this transaction, until the client goes away. */
  async #committed(
    txId: string,
    call: ServerUnaryCall<gateway.SignedCommitStatusRequest, gateway.CommitStatusResponse>,
  ): Promise<{ code: number; block: number }> {
    const { blocks } = this.#context.orderer;
    return await new Promise((resolve, reject) => {
      const look = (block: Parameters<Parameters<typeof blocks.on<'block'>>[1]>[0]) => {
        const found = block.outcomes.find((each) => each.txId === txId);
        if (found !== undefined) {
          blocks.off('block', look);
          resolve({ code: found.code, block: block.number });
        }
      };
      blocks.on('block', look);
      call.once('cancelled', () => {
        blocks.off('block', look);
        reject(new GatewayFailure(status.CANCELLED, 'the client went away'));
      });
    });
  }

  #chaincodeEvents(call: Parameters<typeof streamEvents>[0]): void {
    const bytes = call.request.getRequest_asU8();
    const request = gateway.ChaincodeEventsRequest.deserializeBinary(bytes);
    this.#permit(request.getIdentity_asU8(), bytes, call.request.getSignature_asU8());
    this.#sameChannel(request.getChannelId());
    const { store, orderer } = this.#context;
    const wanted = {
      chaincode: request.getChaincodeId(),
      fromBlock: startBlock(request.getStartPosition(), store.height()),
      afterTxId: request.getAfterTransactionId(),
    };
    streamEvents(call, wanted, store, orderer);
  }

  #check(signed: peerProtos.SignedProposal | undefined): CheckedProposal {
    try {
      return checkProposal(signed ?? new peerProtos.SignedProposal(), this.#context.rules);
    } catch (error) {
      if (error instanceof ProposalError) {
        throw this.#failure(
          status.FAILED_PRECONDITION,
          `error validating proposal: ${error.message}`,
        );
      }
      throw error;
    }
  }

  /** Any identity of the channel may ask, if it signed the request. */
  #permit(identity: Uint8Array, message: Uint8Array, signature: Uint8Array): void {
    try {
      const who = this.#context.rules.msps.identify(identity);
      if (!isSignedBy(who, message, signature)) {
        throw new IdentityError(`access denied: invalid signature of ${who.mspId}`);
      }
    } catch (error) {
      if (error instanceof IdentityError) {
        throw this.#failure(status.PERMISSION_DENIED, error.message);
      }
      throw error;
    }
  }

  #sameChannel(channel: string): void {
    if (channel !== this.#context.rules.channel) {
      throw this.#failure(status.NOT_FOUND, `channel ${channel} is unknown here`);
    }
  }

  #failure(code: status, message: string): GatewayFailure {
    const { endpoint: address, mspId } = this.#peer;
    return new GatewayFailure(code, message, [{ address, mspId, message }]);
  }
}
