/** The tables of docs/mapping.md, made from the rules themselves. `node scripts/mapping-docs.mjs` writes them into the page. */
import { FACT_KINDS, type FactKind } from './fact.js';
import { SEGMENT_MAPS } from './hl7v2/segment-maps.js';
import { HL7_ENCOUNTER, HL7_PATIENT, HL7_RESOURCE, type Paths } from './rules.js';

/** Where the tables stand in the page. */
export const BEGIN = '<!-- tables: begin (scripts/mapping-docs.mjs) -->';
export const END = '<!-- tables: end -->';

/** The page with its tables as the rules have them now. */
export function withTables(page: string): string {
  const begin = page.indexOf(BEGIN);
  const end = page.indexOf(END);
  if (begin < 0 || end < begin) throw new Error('the page has no place for the tables');
  return `${page.slice(0, begin + BEGIN.length)}\n\n${mappingTables()}\n${page.slice(end)}`;
}

function mappingTables(): string {
  const sections = [
    section(
      'PID, PD1, NK1 → PATIENT',
      'maps PID[Patient], PD1[Patient], PV1[Patient], NK1[Patient]',
      pathRows(Object.values(HL7_PATIENT)),
    ),
    section('PV1, PV2 → ENCOUNTER', 'maps PV1[Encounter], PV2[Encounter]', pathRows(Object.values(HL7_ENCOUNTER))),
    ...FACT_KINDS.flatMap((kind) => ofKind(kind)),
  ];
  return sections.join('\n');
}

function ofKind(kind: FactKind): string[] {
  const whole = HL7_RESOURCE[kind];
  const found: string[] = [];
  if (whole !== undefined)
    found.push(section(`${whole['resource'] ?? ''} → ${kind}`, 'one slot, `resource`', pathRows([whole])));
  for (const { map, segment, rules, also } of SEGMENT_MAPS.filter((one) => one.kind === kind)) {
    const rows = [
      ...rules.map(([field, slot, , by]) => [field, `| ${segment}-${field} | \`${slot}\` | ${by ?? ''} |`] as const),
      ...Object.entries(also).map(([field, use]) => [Number(field), `| ${segment}-${field} | | ${use} |`] as const),
    ].sort(([left], [right]) => left - right);
    found.push(
      section(
        `${segment} → ${kind}`,
        `map ${map}`,
        rows.map(([, row]) => row),
      ),
    );
  }
  return found;
}

function pathRows(paths: readonly Paths[]): string[] {
  return paths.flatMap((one) =>
    Object.entries(one)
      .filter(([path]) => path !== 'resource')
      .map(([path, from]) => {
        const [fields = '', by = ''] = from.split(' by ');
        return `| ${fields} | \`${path}\` | ${by} |`;
      }),
  );
}

function section(title: string, subtitle: string, rows: readonly string[]): string {
  return [
    `### ${title}`,
    '',
    `${subtitle.charAt(0).toUpperCase()}${subtitle.slice(1)}.`,
    '',
    '| field | slot | concept map, or what else it is for |',
    '| --- | --- | --- |',
    ...rows,
    '',
  ].join('\n');
}
