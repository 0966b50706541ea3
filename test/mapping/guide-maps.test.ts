import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { RESOURCE_TYPES } from '../../src/mapping/assemble.js';
import { fieldsOf, SEGMENT_MAPS } from '../../src/mapping/hl7v2/segment-maps.js';
import { HL7_ENCOUNTER, HL7_PATIENT, HL7_RESOURCE } from '../../src/mapping/rules.js';
import { parseCsv } from '../../src/text/csv.js';
import { sharedData, sharedFiles } from '../support/shared-data.js';

/** The fields that a rule reads for a resource type: `Encounter` → `PV1-2`, … */
function mappedFields(): ReadonlyMap<string, ReadonlySet<string>> {
  const found = new Map<string, Set<string>>();
  const add = (type: string, field: string): void => {
    const known = found.get(type) ?? new Set();
    known.add(field);
    found.set(type, known);
  };
  for (const map of SEGMENT_MAPS)
    for (const field of fieldsOf(map)) add(RESOURCE_TYPES[map.kind], `${map.segment}-${field}`);
  const paths = [
    ...Object.values(HL7_PATIENT).map((one) => ['Patient', one] as const),
    ...Object.values(HL7_ENCOUNTER).map((one) => ['Encounter', one] as const),
    ...Object.entries(HL7_RESOURCE).map(
      ([kind, one]) => [RESOURCE_TYPES[kind as keyof typeof HL7_RESOURCE], one] as const,
    ),
  ];
  for (const [type, one] of paths)
    for (const rule of Object.values(one))
      for (const field of rule.match(/[A-Z][A-Z0-9]{2}-\d+/g) ?? []) add(type, field);
  return found;
}

/** Rows of the page's list: whole maps, and maps with the fields that have no rule. */
function listed(): ReadonlyMap<string, ReadonlySet<string> | 'all'> {
  const page = readFileSync(path.resolve('docs', 'mapping.md'), 'utf8');
  const section = page.slice(page.indexOf('## Rows of the guide without a rule'), page.indexOf('## Local codes'));
  const found = new Map<string, ReadonlySet<string> | 'all'>();
  for (const [, cell] of section.matchAll(/^\| ([A-Z].*?) \| .+ \|$/gm)) {
    const fields = cell!.match(/[A-Z][A-Z0-9]{2}-\d+/g);
    for (const map of cell!.match(/[A-Z0-9]{3}\[[A-Za-z-]+\]/g) ?? [])
      found.set(map, fields === null ? 'all' : new Set(fields));
  }
  return found;
}

(sharedData() === undefined ? describe.skip : describe)('the guide’s segment maps', () => {
  it('have a rule for each row of a kind of the hub’s, or the page says why not', () => {
    const mapped = mappedFields();
    const reasons = listed();
    const used = new Set<string>();
    const open = new Set<string>();
    let rows = 0;
    for (const { name, bytes } of sharedFiles('expected/hl7-v2-to-fhir/segments', ['.csv'])) {
      const map = /_ ([A-Z0-9]+\[([A-Za-z]+)[A-Za-z-]*\])/.exec(path.basename(name));
      const fields = mapped.get(map?.[2] ?? '');
      if (map === null || fields === undefined) continue;
      for (const cells of parseCsv(bytes.toString('utf8'))) {
        const field = (cells[1] ?? '').trim();
        if (!/^[A-Z][A-Z0-9]{2}-\d+$/.test(field) || (cells[9] ?? '').trim() === '') continue;
        rows += 1;
        const reason = reasons.get(map[1]!);
        if (reason === 'all' || reason?.has(field) === true)
          used.add(reason === 'all' ? map[1]! : `${map[1]!} ${field}`);
        else if (!fields.has(field)) open.add(`${map[1]!} ${field}`);
      }
    }
    expect(rows).toBeGreaterThan(500);
    expect([...open]).toEqual([]);
    const stated = [...reasons].flatMap(([map, fields]) =>
      fields === 'all' ? [map] : [...fields].map((field) => `${map} ${field}`),
    );
    expect(stated.filter((one) => !used.has(one))).toEqual([]);
  });
});
