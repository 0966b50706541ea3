/** A question of one of the four users, asked of the running hub, with what makes its answer right. */
import type { FedMessage } from '../cli/senders/feed.js';
import type { HubClient } from '../cli/hub-client.js';

export interface AskedQuestion {
  readonly who: 'auditor' | 'analyst' | 'clinician' | 'engineer';
  readonly question: string;
  /** The real answer, for people. */
  readonly answer: readonly string[];
  /** A command that asks it again. */
  readonly again: string;
  /** What is wrong with the answer; empty where it is right. */
  readonly wrong: readonly string[];
}

export interface Asking {
  readonly hub: HubClient;
  /** What was sent. */
  readonly day: DemoDay;
  /** `--data …` where the hub is not in the default directory. */
  readonly flags: string;
}

/** What the demo knows of what it sent. */
export interface DemoDay {
  readonly messages: readonly FedMessage[];
  /** People by favourite color, as the hub should come to count them. */
  readonly favoriteColors: ReadonlyMap<string, number>;
}

/** Collects what does not hold. */
export class Findings {
  readonly wrong: string[] = [];

  expect(holds: boolean, what: string): void {
    if (!holds) this.wrong.push(what);
  }
}

/** The command line that asks a query again, in single quotes for a shell. */
export function queryCommandLine(query: string, role: string, flags: string): string {
  const words = query.replaceAll(/\s+/g, ' ').trim();
  return `npx anamnesis query '${words}' --as ${role}${flags}`;
}
