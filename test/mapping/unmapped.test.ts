import { describe, expect, it } from '@jest/globals';
import type { Json } from '../../src/mapping/fact.js';
import { map } from './support.js';
import { FRAMES, synthetic } from './synthetic.js';

/** HL7 v2.9 §2.A: the components of the types that have some, those of FN and HD in HL7's order. */
const COMPONENTS: Readonly<Record<string, string>> = {
  CQ: 'N ST',
  CWE: 'ST ST ST ST ST ST ST ST ST',
  CX: 'ST ST ST HD ST HD DT DT ST ST ST ST',
  DR: 'DT DT',
  EI: 'ST ST ST ST',
  EIP: 'EI EI',
  FN: 'ST ST ST ST ST',
  HD: 'ST ST ST',
  PL: 'HD HD HD HD ST HD HD HD ST EI HD',
  XAD: 'SAD ST ST ST ST ST ST ST ST ST ST DR DT DT ST ST ST ST ST',
  SAD: 'ST ST ST',
  XCN: 'ST FN ST ST ST ST ST ST HD ST ST ST ST HD ST ST DR ST DT DT ST ST ST',
  XON: 'ST ST N ST ST HD ST ST ST ST',
  XPN: 'FN ST ST ST ST ST ST ST ST DR ST DT DT ST ST',
  XTN: 'ST ST ST ST ST ST ST ST ST ST ST ST DT DT ST ST ST N',
};

/** Fields of the segments that mean the same since v2.3, by type; the others have one component. */
const FIELDS: Readonly<Record<string, Readonly<Record<string, readonly number[]>>>> = {
  AL1: { CWE: [2, 3, 4], DT: [6] },
  DG1: { CWE: [3, 6], DT: [5, 19], XCN: [16], EI: [20, 22] },
  FT1: { DR: [4], DT: [5], CWE: [6, 7, 13, 14, 19, 25], PL: [16], XCN: [20, 21, 24], EI: [23], ST: [2, 8] },
  GT1: { CX: [2, 19], XPN: [3, 4], XAD: [5], XTN: [6, 7], DT: [8, 13, 14], CWE: [10, 11], ST: [12] },
  IAM: { CWE: [2, 3, 4, 15, 17, 27], EI: [7], DT: [11, 13], XPN: [14], ST: [12] },
  IN1: {
    CX: [3, 10, 49],
    XON: [4, 9, 11],
    XAD: [5, 19],
    XPN: [6, 16],
    XTN: [7],
    DT: [12, 13, 18],
    CWE: [2, 15, 35],
    ST: [8, 36],
  },
  IN2: { CX: [1, 25, 26, 61], XTN: [63, 64], CWE: [34] },
  MRG: { CX: [3, 5, 6], XPN: [7] },
  NK1: {
    XPN: [2, 30],
    CWE: [3, 7, 20],
    XAD: [4, 32],
    XTN: [5, 6, 31],
    DT: [8, 9, 16],
    CX: [12, 33],
    XON: [13],
    ST: [10, 37],
  },
  NTE: { CWE: [4], XCN: [5], DT: [6], ST: [3] },
  OBR: {
    EI: [2, 3],
    CWE: [4, 31, 44],
    DT: [7, 8, 22],
    CQ: [9],
    XCN: [10, 16, 28],
    XTN: [17],
    EIP: [29],
    ST: [13, 18, 24],
  },
  OBX: { CWE: [3, 6, 15, 17], XCN: [16, 25], EI: [18, 21], DT: [14, 19], XON: [23], XAD: [24], ST: [5, 7, 13] },
  ORC: {
    EI: [2, 3],
    EIP: [4, 8],
    DT: [9, 15],
    XCN: [10, 11, 12, 19],
    PL: [13],
    XTN: [14, 23],
    CWE: [16, 17, 28, 29],
    XON: [21],
    XAD: [22, 24],
  },
  PD1: { XON: [3], XCN: [4], CWE: [6, 7], CX: [10], ST: [9] },
  PDA: { CWE: [1], PL: [2], DT: [4], XCN: [5, 8], DR: [7] },
  PID: {
    CX: [2, 3, 4, 18, 21],
    XPN: [5, 6, 9],
    XAD: [11],
    XTN: [13, 14, 40],
    CWE: [10, 15, 16, 17, 22, 26, 28, 35, 36, 39],
    ST: [19, 23, 27, 37],
    DT: [7, 29],
  },
  PR1: { CWE: [3, 13, 15, 18], XCN: [8, 11, 12], DT: [5], EI: [19], ST: [4] },
  PRB: { CWE: [3, 14, 26], EI: [4, 5], DT: [2, 7, 8, 9, 16], ST: [17] },
  PRD: { XPN: [2], XAD: [3], PL: [4], XTN: [5], DT: [8, 9] },
  PRT: { EI: [1, 10], CWE: [3, 4, 6], XCN: [5], XON: [8], PL: [9], DT: [11, 12], XAD: [14], XTN: [15] },
  PV1: {
    PL: [3, 6, 11, 42, 43],
    CWE: [4, 10, 13, 14, 15, 16, 36, 38],
    CX: [5, 50, 54],
    XCN: [7, 8, 9, 17, 52],
    DT: [44, 45],
    ST: [18, 40, 41],
  },
  PV2: { PL: [1], CWE: [2, 3, 25, 38], DT: [8, 9], ST: [12], XCN: [13], XON: [23] },
  RF1: { CWE: [3, 4, 10], EI: [6, 11], DT: [7, 8, 9] },
  ROL: { EI: [1], CWE: [3, 7], XCN: [4], DT: [5, 6], XAD: [11], XTN: [12], PL: [13], XON: [14] },
  RXA: { DT: [3, 16, 22], CWE: [5, 8, 17, 18, 19], XCN: [10], PL: [27], XAD: [28], ST: [15] },
  RXC: { CWE: [2, 6], N: [5], ST: [1] },
  RXD: { CWE: [2, 5, 33], DT: [3], XCN: [10], ST: [7, 9] },
  RXE: { CWE: [2, 6, 7, 27], XCN: [13], ST: [15] },
  RXG: { CWE: [4, 8, 13, 22] },
  RXO: { CWE: [1, 5, 20], XCN: [14] },
  RXR: { CWE: [1, 2, 3, 4, 5] },
  SCH: { EI: [1, 2, 26, 27], CWE: [6, 7, 8], XCN: [12, 16, 20], XTN: [13, 17], PL: [15, 19] },
  SPM: { EIP: [2, 3], CWE: [4, 5, 6, 7, 8, 24, 27], DR: [17], DT: [18], CX: [30, 31], EI: [32], ST: [14] },
  TQ1: { CWE: [9], DT: [7, 8], ST: [11] },
  TXA: { CWE: [2], DT: [4, 6, 7], XCN: [5, 9, 10], EI: [12, 13, 14, 15], ST: [16, 25] },
};

/** What a value is used for without being in what is asserted, so that its token is not found there. */
const USED: ReadonlyMap<string, string> = new Map([
  ['IAM-12', 'onset, where IAM-11 says none'],
  ['PRB-17', 'onset, where PRB-16 says none'],
  ['RXC-1', 'base or additive'],
]);

interface Token {
  readonly path: string;
  readonly token: string;
}

class Tokens {
  readonly all: Token[] = [];
  private made = 0;

  /** The text of a field, component or subcomponent of a type, each of its parts with a token of its own. */
  text(type: string, path: string, depth = 0): string {
    const parts = COMPONENTS[type];
    if (parts === undefined || depth === 2) return this.leaf(type, path);
    return parts
      .split(' ')
      .map((part, index) => this.text(part, `${path}.${index + 1}`, depth + 1))
      .join(depth === 0 ? '^' : '&');
  }

  private leaf(type: string, path: string): string {
    this.made += 1;
    if (type === 'N') return this.put(path, String(70_000 + this.made), String(70_000 + this.made));
    if (type !== 'DT') return this.put(path, `Q${this.made}Z`, `Q${this.made}Z`);
    const day = new Date(Date.UTC(1950, 0, 1 + this.made)).toISOString().slice(0, 10);
    return this.put(path, day.replaceAll('-', ''), day);
  }

  private put(path: string, text: string, token: string): string {
    this.all.push({ path, token });
    return text;
  }
}

function leaves(value: Json | undefined, into: string[]): void {
  if (value === null || value === undefined) return;
  if (typeof value === 'object') for (const part of Object.values(value)) leaves(part, into);
  else into.push(String(value));
}

/** `PID-3.4.1` → `PID`, `PID-3`, `PID-3.4`, `PID-3.4.1`. */
function prefixes(path: string): string[] {
  const [field, ...parts] = path.split('.');
  return [path.slice(0, 3), field!, ...parts.map((_, index) => [field, ...parts.slice(0, index + 1)].join('.'))];
}

describe('what a message says', () => {
  it.each(Object.keys(FIELDS))('in any component of %s is asserted, or listed as unmapped', (name) => {
    const silent: string[] = [];
    for (const frame of FRAMES[name]!) {
      for (const [type, numbers] of Object.entries(FIELDS[name]!)) {
        for (const number of numbers) {
          const tokens = new Tokens();
          const sent = tokens.text(type, `${name}-${number}`);
          const mapped = map(synthetic(name, frame, { [number]: sent }));
          const said: string[] = [];
          for (const fact of mapped.facts) {
            leaves(fact.assert, said);
            said.push(fact.valid.instant);
          }
          for (const note of mapped.notes) said.push(note.title);
          const all = said.join('\n');
          const unmapped = new Set(mapped.unmapped);
          for (const { path, token } of tokens.all) {
            const kept = all.includes(token) || prefixes(path).some((one) => unmapped.has(one));
            if (!kept && !USED.has(path)) silent.push(`${frame.type} ${path}`);
          }
        }
      }
    }
    expect(silent).toEqual([]);
  });

  it.each(Object.keys(FIELDS))('in %s has a rule for each slot it writes', (name) => {
    for (const frame of FRAMES[name]!)
      for (const [type, numbers] of Object.entries(FIELDS[name]!))
        for (const number of numbers) {
          const mapped = map(synthetic(name, frame, { [number]: new Tokens().text(type, '') }), {}, { rules: true });
          for (const { kind, key, assert } of mapped.facts)
            for (const slot of Object.keys(assert ?? {}))
              expect([`${kind}.${slot}`, mapped.rules!.get(`${kind}|${key}|${slot}`)]).not.toContain(undefined);
        }
  });
});
