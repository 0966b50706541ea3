import { Presets, SingleBar } from 'cli-progress';
import type { Command } from 'commander';
import { MessageSender, SendError, type Sent } from '../../inbound/files/sender.js';
import { EVENT_CONTENT_TYPE, FHIR_CONTENT_TYPE, HL7_CONTENT_TYPE } from '../../inbound/message-types.js';
import { fileLane } from '../../simulator/files.js';
import { sendMessages, type Lane, type SendResult } from '../../simulator/send.js';
import { simulate, type SimulatedMessage } from '../../simulator/simulate.js';
import type { Instant } from '../../time/valid-time.js';
import { CliError, EXIT } from '../cli-error.js';
import { findHub } from '../hub-client.js';
import { wholeNumber, withHub, type HubOptions } from '../options.js';
import { duration, grouped } from '../output.js';
import { acknowledgmentCode, MllpSender } from '../senders/mllp-sender.js';

interface Options extends HubOptions {
  readonly patients: number;
  readonly messages: number;
  readonly seed: number;
  readonly size?: number;
  readonly rate?: number;
  readonly to?: string;
}

/** Fixed, so that the same seed gives the same bytes on any day. */
const START: Instant = '2026-03-02T06:00:00.000000Z';
/** Connections to a hub; each person's messages go over one. */
const LANES = 8;

export function simulateCommand(program: Command): void {
  withHub(program.command('simulate'))
    .description(
      'a deterministic hospital with invented people: the same seed gives the same bytes; to the running hub, another address, or files',
    )
    .option('--patients <n>', 'people', wholeNumber('--patients', 1), 100)
    .option('--messages <n>', 'messages', wholeNumber('--messages', 0), 1_000)
    .option('--seed <n>', 'seed', wholeNumber('--seed', 0), 1)
    .option('--size <bytes>', 'fill messages up to about this size', wholeNumber('--size', 1))
    .option('--rate <n>', 'messages a second at most', wholeNumber('--rate', 1))
    .option(
      '--to <target>',
      'mllp://host:port (HL7 only), http://host:port, a file (.hl7, .ndjson) or a folder (default: the running hub)',
    )
    .action(async (options: Options) => {
      const lanes = await lanesTo(options);
      const bar = options.json === true || !process.stderr.isTTY ? undefined : progressBar(options.messages);
      let result: SendResult;
      try {
        result = await sendMessages(simulate({ ...options, sizeBytes: options.size, start: START }), lanes, {
          rate: options.rate,
          onProgress: (progress) => bar?.show(progress),
        });
      } catch (error) {
        if (error instanceof SendError || (error as { code?: unknown }).code === 'NOT_ANSWERED') {
          throw new CliError((error as Error).message, EXIT.failed, { cause: error });
        }
        throw error;
      } finally {
        bar?.stop();
        for (const lane of lanes) await lane.close();
      }
      console.log(options.json === true ? JSON.stringify(result) : wordResult(result));
      if (result.refused > 0) throw new CliError(`${grouped(result.refused)} were not taken`);
    });
}

async function lanesTo(options: Options): Promise<Lane[]> {
  const { to } = options;
  if (to === undefined) {
    const { url, run } = await findHub(options);
    return Promise.all(Array.from({ length: LANES }, () => hubLane(url, run?.mllp)));
  }
  if (!/^[a-z]+:\/\//i.test(to)) return [await fileLane(to)];
  const url = URL.canParse(to) ? new URL(to) : undefined;
  if (url?.protocol === 'mllp:' && url.port !== '') {
    return Promise.all(Array.from({ length: LANES }, () => mllpLane(url.hostname, Number(url.port))));
  }
  if (url?.protocol === 'http:') return Promise.all(Array.from({ length: LANES }, () => hubLane(url.origin)));
  throw new CliError('--to: expected mllp://host:port, http://host:port, a file or a folder', EXIT.usage);
}

/** HL7 over MLLP where the hub says where, else over HTTP like everything else. */
async function hubLane(url: string, mllp?: string): Promise<Lane> {
  const http = new MessageSender({ url, source: 'http' });
  const address = mllp === undefined ? undefined : new URL(`mllp://${mllp}`);
  const hl7 = address === undefined ? undefined : await mllpLane(address.hostname, Number(address.port));
  return {
    async send(message) {
      if (message.kind === 'hl7' && hl7 !== undefined) return hl7.send(message);
      const sent = await sendOverHttp(http, message);
      return sent.refused + sent.parked === 0 ? 'taken' : 'refused';
    },
    async close() {
      http.close();
      await hl7?.close();
    },
  };
}

function sendOverHttp(sender: MessageSender, message: SimulatedMessage): Promise<Sent> {
  const { bytes } = message;
  switch (message.kind) {
    case 'hl7':
      return sender.messages([{ contentType: HL7_CONTENT_TYPE, bytes }]);
    case 'event':
      return sender.messages([{ contentType: EVENT_CONTENT_TYPE, bytes }]);
    case 'fhir':
      return sender.messages([{ contentType: FHIR_CONTENT_TYPE, bytes, fhir: { interaction: 'batch' } }]);
  }
}

async function mllpLane(host: string, port: number): Promise<Lane> {
  let sender: MllpSender;
  try {
    sender = await MllpSender.connect(host, port);
  } catch (error) {
    const reason = (error as { code?: string }).code ?? 'it cannot be reached';
    throw new CliError(`no hub takes MLLP at ${host}:${port}: ${reason}`, EXIT.failed, { cause: error });
  }
  return {
    async send(message) {
      if (message.kind !== 'hl7') return 'skipped';
      const code = acknowledgmentCode(await sender.send(message.bytes));
      return code === 'AA' || code === 'CA' ? 'taken' : 'refused';
    },
    close: () => sender.close(),
  };
}

function progressBar(total: number): { show(result: Readonly<SendResult>): void; stop(): void } {
  const bar = new SingleBar(
    {
      format: '{bar} {percentage}% | {value}/{total} messages, {rate}/s | ETA {eta_formatted}',
      hideCursor: true,
      stream: process.stderr,
    },
    Presets.shades_classic,
  );
  bar.start(total, 0, { rate: '0' });
  return {
    show({ taken, refused, skipped, seconds }) {
      const done = taken + refused + skipped;
      bar.update(done, { rate: grouped(Math.round(done / Math.max(seconds, 0.001))) });
    },
    stop: () => bar.stop(),
  };
}

function wordResult({ taken, refused, skipped, seconds }: SendResult): string {
  const rate = Math.round(taken / Math.max(seconds, 0.001));
  return [
    `${grouped(taken)} messages taken in ${duration(seconds)} (${grouped(rate)}/s)`,
    ...(refused === 0 ? [] : [`${grouped(refused)} not taken`]),
    ...(skipped === 0 ? [] : [`${grouped(skipped)} left out: this target is not for their kind`]),
  ].join(', ');
}
