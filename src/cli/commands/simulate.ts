import { Presets, SingleBar } from 'cli-progress';
import type { ConnectionOptions } from 'node:tls';
import type { Command } from 'commander';
import { MessageSender, SendError, type Sent } from '../../inbound/files/sender.js';
import { EVENT_CONTENT_TYPE, FHIR_CONTENT_TYPE, HL7_CONTENT_TYPE } from '../../inbound/message-types.js';
import { fileLane } from '../../simulator/files.js';
import { sendMessages, type Lane, type SendResult } from '../../simulator/send.js';
import { simulate, type SimulatedMessage } from '../../simulator/simulate.js';
import type { Instant } from '../../time/valid-time.js';
import { clientTlsOptions } from '../../tls/client-credentials.js';
import { CliError, EXIT } from '../cli-error.js';
import { accessOf, findHub, type HubAccess } from '../hub-client.js';
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
  readonly cert?: string;
  readonly key?: string;
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
      'mllp://host:port or mllps://host:port (HL7 only), http(s)://host:port, a file (.hl7, .ndjson) or a folder (default: the running hub)',
    )
    .option('--cert <file>', 'PEM: certificate to show where MLLP over TLS wants one')
    .option('--key <file>', 'PEM: its private key')
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
  const several = (lane: () => Promise<Lane>): Promise<Lane[]> => Promise.all(Array.from({ length: LANES }, lane));
  if (to === undefined) {
    const { url, run, access } = await findHub(options);
    const mllp = run?.mllp === undefined ? undefined : new URL(`mllp://${run.mllp}`);
    // A hub with TLS wants it over MLLP too, and mostly a certificate: without one HL7 goes over HTTPS like everything else.
    const secure = url.startsWith('https:');
    if (mllp === undefined || (secure && options.cert === undefined)) return several(() => hubLane(url, access));
    const tls = secure ? await tlsOf(options) : undefined;
    return several(async () => hubLane(url, access, await mllpLane(mllp, tls)));
  }
  if (!/^[a-z]+:\/\//i.test(to)) return [await fileLane(to)];
  const url = URL.canParse(to) ? new URL(to) : undefined;
  if (url !== undefined && /^mllps?:$/.test(url.protocol) && url.port !== '') {
    const tls = url.protocol === 'mllps:' ? await tlsOf(options) : undefined;
    return several(() => mllpLane(url, tls));
  }
  if (url !== undefined && /^https?:$/.test(url.protocol)) {
    const access = accessOf(options);
    return several(() => hubLane(url.origin, access));
  }
  throw new CliError('--to: expected mllp(s)://host:port, http(s)://host:port, a file or a folder', EXIT.usage);
}

async function tlsOf({ ca, cert, key }: Options): Promise<ConnectionOptions> {
  if ((cert === undefined) !== (key === undefined)) throw new CliError('--cert and --key go together', EXIT.usage);
  try {
    return await clientTlsOptions({
      ...(ca === undefined || ca === '' ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
    });
  } catch (error) {
    throw new CliError('--ca, --cert, --key: expected files that can be read', EXIT.usage, { cause: error });
  }
}

/** HL7 over MLLP where it is given, else over HTTP like everything else. */
async function hubLane(url: string, access: HubAccess, hl7?: Lane): Promise<Lane> {
  const http = new MessageSender({ url, source: 'http', ...access });
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

async function mllpLane({ hostname, port }: URL, tls?: ConnectionOptions): Promise<Lane> {
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  let sender: MllpSender;
  try {
    sender = await MllpSender.connect(host, Number(port), tls);
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
