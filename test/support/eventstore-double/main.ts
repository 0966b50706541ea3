/**
 * The double as a process of its own: `node main.js '<JSON of ProcessOptions>'`. Prints its port; ends at once when its
 * parent is gone.
 */
import { readFileSync } from 'node:fs';
import { EventStoreDouble } from './server.js';

export interface ProcessOptions {
  readonly file: string;
  readonly port: number;
  readonly maxAppendBytes: number;
  readonly notReady: boolean;
  readonly user?: string;
  readonly tls?: { readonly keyFile: string; readonly certificateFile: string };
}

export type Command =
  | { readonly do: 'become-ready' }
  | { readonly do: 'swallow-answers'; readonly count: number; readonly stream?: string };

const options = JSON.parse(process.argv[2] ?? '') as ProcessOptions;
const double = new EventStoreDouble({
  ...options,
  host: '127.0.0.1',
  tls:
    options.tls === undefined
      ? undefined
      : { key: readFileSync(options.tls.keyFile), certificate: readFileSync(options.tls.certificateFile) },
});
process.on('message', (command: Command) => {
  if (command.do === 'become-ready') double.becomeReady();
  else double.swallowAnswers(command.count, command.stream);
  process.send?.({ done: command.do });
});
process.on('disconnect', () => process.exit(0));
process.send?.({ port: await double.listen() });
