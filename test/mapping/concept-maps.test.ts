import path from 'node:path';
import { describe, expect, it } from '@jest/globals';
import type { Json } from '../../src/mapping/fact.js';
import { parseCsv } from '../../src/text/csv.js';
import { sharedData, sharedFiles } from '../support/shared-data.js';
import { map } from './support.js';
import { FRAMES, synthetic } from './synthetic.js';

interface Target {
  readonly code: string;
  readonly to: string;
  readonly system: string;
}

/** The guide's concept maps by name: what each code becomes. Codes that a map leaves open are not among them. */
function conceptMaps(): ReadonlyMap<string, readonly Target[]> {
  const found = new Map<string, readonly Target[]>();
  for (const { name, bytes } of sharedFiles('expected/hl7-v2-to-fhir/codesystems', ['.csv'])) {
    const map = /Map_ (.*) - /.exec(path.basename(name))?.[1];
    if (map === undefined) continue;
    const rows = parseCsv(bytes.toString('utf8')).slice(2);
    const targets = rows.map((cells) => ({
      code: (cells[0] ?? '').trim(),
      to: (cells[6] ?? '').trim(),
      system: (cells[9] ?? '').trim(),
    }));
    found.set(
      plainName(map),
      targets.filter(({ code, to }) => code !== '' && to !== '' && !code.includes('<')),
    );
  }
  return found;
}

/** The sheets write `Contact Role` and `Additive/Preservative` too. */
const plainName = (name: string): string => name.replaceAll(/[ /]/g, '').toLowerCase();

interface Use {
  readonly map: string;
  readonly segment: string;
  readonly field: number;
  readonly concepts: string;
}

/** Rows of the segment maps that name a concept map. */
function uses(): Use[] {
  const found = new Map<string, Use>();
  for (const { name, bytes } of sharedFiles('expected/hl7-v2-to-fhir/segments', ['.csv'])) {
    const map = /_ ([A-Z0-9]+\[[A-Za-z-]+\])/.exec(path.basename(name))?.[1];
    if (map === undefined) continue;
    for (const cells of parseCsv(bytes.toString('utf8'))) {
      const place = /^([A-Z][A-Z0-9]{2})-(\d+)$/.exec((cells[1] ?? '').trim());
      const concepts = (cells[15] ?? '').trim();
      if (place === null || concepts === '' || (cells[9] ?? '').trim() === '') continue;
      const use = { map, segment: place[1]!, field: Number(place[2]), concepts };
      found.set(`${place[0]} ${concepts}`, use);
    }
  }
  return [...found.values()];
}

/** Where the hub means something else by a code, and why. */
const DEPARTURES: Readonly<Record<string, string>> = {
  'AllergySeverity[AllergyIntolerance.reaction.severity]': 'R4 has no reaction without a manifestation',
  'IAM-15 SEL': 'the patient is the recorder, not somebody related to them',
  'OBX-11 D': 'takes the result back',
  'OBX-11 W': 'takes the result back',
  'OBX-11 X': 'takes the result back',
  'ORC-1 CA': 'a cancel revokes at once (docs/mapping.md)',
  'PRT-2 A': 'an action, not a value',
  'PRT-2 D': 'an action, not a value',
  'PRT-2 U': 'an action, not a value',
  'PV1-2 P': 'the event says how a visit stands (Event[EncounterStatus])',
  'PV1-2 U': 'the event says how a visit stands (Event[EncounterStatus])',
  'PV2-22 N': 'a label whose code is the flag itself',
  'PV2-22 Y': 'a label whose code is the flag itself',
  BedStatus: 'the bed’s (docs/mapping.md)',
};

function collect(value: Json | undefined, into: Set<string>): void {
  if (value === null || typeof value !== 'object') {
    if (value !== undefined) into.add(String(value));
    return;
  }
  for (const part of Object.values(value)) collect(part, into);
  if (Array.isArray(value)) return;
  const { system, code } = value;
  if (typeof system === 'string' && typeof code === 'string') into.add(`${system}|${code}`);
}

/** Whether a code in a field comes out as the guide says, in any message that the segment may stand in. */
function comesOut({ segment, field, concepts }: Use, { code, to, system }: Target): boolean {
  // SCH-7 is a kind of appointment where its code says that it is of HL70277 (map SCH[Appointment]).
  const sent = segment === 'SCH' && field === 7 && concepts === 'AppointmentTypeCodes' ? `${code}^^HL70277` : code;
  return FRAMES[segment]!.some((frame) => {
    const said = new Set<string>();
    for (const fact of map(synthetic(segment, frame, { [field]: sent })).facts) collect(fact.assert, said);
    // Elements of type `code` (of FHIR's own code systems) and boolean have no system.
    const element = !system.includes('CodeSystem') || to === 'true' || to === 'false';
    return said.has(`${system}|${to}`) || (element && said.has(to));
  });
}

(sharedData() === undefined ? describe.skip : describe)('the guide’s concept maps', () => {
  it('give each code what they say, in each field that names them', () => {
    const maps = conceptMaps();
    const missing: string[] = [];
    const departed = new Set<string>();
    let codes = 0;
    for (const use of uses()) {
      const targets = maps.get(plainName(use.concepts));
      if (targets === undefined || !Object.hasOwn(FRAMES, use.segment)) continue;
      for (const target of targets) {
        codes += 1;
        if (comesOut(use, target)) continue;
        const place = `${use.segment}-${use.field} ${target.code}`;
        const departure = [use.concepts, place].find((name) => Object.hasOwn(DEPARTURES, name));
        if (departure === undefined) missing.push(`${use.map} ${place} → ${target.to} (${use.concepts})`);
        else departed.add(departure);
      }
    }
    expect(missing).toEqual([]);
    expect(codes).toBeGreaterThan(1400);
    expect(Object.keys(DEPARTURES).filter((one) => !departed.has(one))).toEqual([]);
  });
});
