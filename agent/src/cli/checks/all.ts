/** Every look of `blocktorrent check`, at the same time, in the order in which they are shown. */
import type { Config } from '../../config/load.ts';
import type { AgentStatus } from '../../controls.ts';
import type { Explanation } from '../explain.ts';
import { checkBrokers } from './brokers.ts';
import { checkCertificates } from './certificates.ts';
import { type Finding, looked } from './finding.ts';
import { checkClock, checkSpace, checkWriteSpeed } from './machine.ts';
import { checkAgent, checkConsortium } from './network.ts';

/** `asked`: the running agent's status, or why there is none. Takes some seconds at most. */
export async function checkAll(
  config: Config,
  asked: AgentStatus | Explanation,
): Promise<Finding[]> {
  const status = 'exitCode' in asked ? null : asked;
  const disk = `Can this user write to ${config.dataDir}?`;
  const parts = await Promise.all([
    looked('clock', '', checkClock),
    looked('disk', disk, () => checkSpace(config)),
    looked('write speed', disk, () => checkWriteSpeed(config)),
    looked('certificates', '', () => checkCertificates(config, Date.now())),
    looked('agent', '', () => checkAgent(config, asked)),
    looked('broker', '', () => checkBrokers(config, status)),
    looked('consortium', 'Can this user read the keys?', () =>
      checkConsortium(config, status !== null),
    ),
  ]);
  return parts.flat();
}
