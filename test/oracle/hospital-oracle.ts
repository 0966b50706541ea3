/**
 * A second reading of the simulated hospital's messages, written from docs/time.md: plain string splitting, no code of the hub. It makes slot rows per
 * source record, which test/oracle/fold-oracle.ts folds.
 */
import { asOf, asOfAll, rowsOf, type OracleRow, type OracleStatement } from './fold-oracle.js';

const PERSON_SLOTS = ['name', 'birthDate', 'gender', 'telecom', 'attribute:favoriteColor'];
const VISIT_SLOTS = ['status', 'class', 'location'];
const FACT_SLOTS = ['value'];

export interface OracleMessage {
  readonly kind: 'hl7' | 'event' | 'fhir';
  readonly text: string;
  readonly position: bigint;
}

export interface OracleChart {
  readonly name: { family: string; given: string[] } | null;
  readonly birthDate: string | null;
  readonly sex: string | null;
  readonly phone: string | null;
  readonly color: string | null;
  readonly visits: readonly string[];
  readonly results: readonly string[];
  readonly conditions: readonly string[];
  readonly allergies: readonly string[];
  readonly vaccines: readonly string[];
}

interface Things {
  /** kind|key → statements. */
  readonly statements: Map<string, OracleStatement[]>;
}

/** `20260301101530.1234+0000` → Instant. The simulated senders state seconds and an offset of zero always. */
function instant(hl7: string): string {
  const match = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:\.(\d+))?\+0000$/.exec(hl7);
  if (match === null) throw new Error('not a time of a simulated sender');
  const [, year, month, day, hour, minute, second, fraction = ''] = match;
  return `${year}-${month}-${day}T${hour}:${minute}:${second}.${fraction.padEnd(6, '0')}Z`;
}

/** An ISO instant or day, as an Instant. */
function iso(text: string): string {
  if (text.length === 10) return `${text}T00:00:00.000000Z`;
  const [whole = '', fraction = ''] = text.slice(0, -1).split('.');
  return `${whole}.${fraction.padEnd(6, '0')}Z`;
}

function plain(text: string): string {
  return text
    .replaceAll('\\F\\', '|')
    .replaceAll('\\S\\', '^')
    .replaceAll('\\T\\', '&')
    .replaceAll('\\R\\', '~')
    .replaceAll('\\E\\', '\\');
}

export class HospitalOracle {
  private readonly records = new Map<string, Things>();
  private readonly positions = new Map<string, bigint>();
  private cached = new Map<string, OracleRow[]>();

  /** Name of a record: authority and number. */
  static record(authority: string, value: string): string {
    return `${authority}|${value}`;
  }

  /** Positions at which each record was first named. */
  get firstSeen(): ReadonlyMap<string, bigint> {
    return this.positions;
  }

  /** Every valid time that some message stated, in order. */
  validTimes(): string[] {
    const times = new Set<string>();
    for (const { statements } of this.records.values()) {
      for (const list of statements.values()) for (const { validFrom } of list) times.add(validFrom);
    }
    return [...times].sort();
  }

  read(message: OracleMessage): void {
    this.cached = new Map();
    if (message.kind === 'hl7') this.readHl7(message);
    else if (message.kind === 'event') this.readEvent(message);
    else this.readBundle(message);
  }

  private say(record: string, thing: string, statement: OracleStatement): void {
    if (!this.positions.has(record)) this.positions.set(record, statement.pos);
    let things = this.records.get(record);
    if (things === undefined) {
      things = { statements: new Map() };
      this.records.set(record, things);
    }
    const list = things.statements.get(thing);
    if (list === undefined) things.statements.set(thing, [statement]);
    else list.push(statement);
  }

  private readHl7({ text, position: pos }: OracleMessage): void {
    const segments = text
      .split('\r')
      .filter((line) => line !== '')
      .map((line) => line.split('|'));
    const field = (segment: string[] | undefined, number: number): string => segment?.[number] ?? '';
    const find = (name: string): string[] | undefined => segments.find(([first]) => first === name);
    const all = (name: string): string[][] => segments.filter(([first]) => first === name);
    const msh = find('MSH');
    const [code = '', trigger = ''] = field(msh, 8).split('^');
    const sent = instant(field(msh, 6));
    const pid = find('PID');
    const [mrn = '', , , authority = ''] = (field(pid, 3).split('~')[0] ?? '').split('^');
    const record = HospitalOracle.record(authority, mrn);
    const evn = find('EVN');
    const cancel = ['A11', 'A12', 'A13'].includes(trigger);
    const valid = code === 'ADT' ? (cancel ? instant(field(evn, 2)) : instant(field(evn, 6))) : sent;

    const [family = '', given = '', middle = ''] = field(pid, 5).split('^').map(plain);
    const phone = field(pid, 13).split('^');
    this.say(record, 'PATIENT|', {
      validFrom: valid,
      pos,
      assert: {
        name: { family, given: [given, middle].filter((part) => part !== '') },
        birthDate: field(pid, 7).replace(/^(\d{4})(\d\d)(\d\d)$/, '$1-$2-$3'),
        gender: field(pid, 8) === 'F' ? 'FEMALE' : 'MALE',
        telecom: `+${phone[4]} ${phone[5]} ${phone[6]}`,
      },
    });

    const pv1 = find('PV1');
    const visit = field(pv1, 19).split('^')[0] ?? '';
    if (code === 'ADT' && visit !== '') {
      if (cancel) this.say(record, `VISIT|${visit}`, { validFrom: instant(field(evn, 6)), pos, retract: '*' });
      else {
        const status =
          trigger === 'A03'
            ? 'finished'
            : ['A01', 'A02', 'A04', 'A06', 'A07'].includes(trigger)
              ? 'in-progress'
              : undefined;
        this.say(record, `VISIT|${visit}`, {
          validFrom: valid,
          pos,
          assert: {
            ...(status === undefined ? {} : { status }),
            class: { I: 'IMP', O: 'AMB', E: 'EMER' }[field(pv1, 2)],
            location: field(pv1, 3).split('^').slice(0, 3).join(' '),
          },
        });
      }
    }
    for (const al1 of all('AL1')) {
      const allergen = field(al1, 3).split('^')[0];
      this.say(record, `ALLERGY|${allergen}`, { validFrom: valid, pos, assert: { value: allergen } });
    }
    for (const dg1 of all('DG1')) {
      const diagnosis = field(dg1, 3).split('^')[0];
      this.say(record, `CONDITION|${diagnosis}`, {
        validFrom: instant(field(dg1, 5)),
        pos,
        assert: { value: diagnosis },
      });
    }
    for (const rxa of all('RXA')) {
      const vaccine = field(rxa, 5).split('^')[0];
      this.say(record, `VACCINE|${vaccine}|${field(rxa, 3)}|${field(find('ORC'), 3)}`, {
        validFrom: instant(field(rxa, 3)),
        pos,
        assert: { value: vaccine },
      });
    }
    const order = field(find('OBR'), 3);
    for (const obx of all('OBX')) {
      const result = field(obx, 3).split('^')[0];
      const status = { F: 'final', P: 'preliminary', C: 'corrected' }[field(obx, 11)];
      this.say(record, `RESULT|${order}|${result}`, {
        validFrom: instant(field(obx, 14)),
        pos,
        assert: { value: `${result} ${Number(field(obx, 5))} ${status}` },
      });
    }
  }

  private readEvent({ text, position: pos }: OracleMessage): void {
    const event = JSON.parse(text) as {
      type: string;
      ts: string;
      patient: { identifiers: { authority: string; value: string }[]; name: unknown; birthDate: string; sex: string };
      data: { favoriteColor?: string; code?: string; value?: number; status?: string; effective?: string };
    };
    const { patient, data } = event;
    const [identifier] = patient.identifiers;
    const record = HospitalOracle.record(identifier?.authority ?? '', identifier?.value ?? '');
    this.say(record, 'PATIENT|', {
      validFrom: iso(event.ts),
      pos,
      assert: {
        name: patient.name,
        birthDate: patient.birthDate,
        gender: patient.sex.toUpperCase(),
        ...(event.type === 'patient.attributes' ? { 'attribute:favoriteColor': data.favoriteColor } : {}),
      },
    });
    if (event.type === 'observation.recorded') {
      this.say(record, `RESULT|event|${data.code}|${data.effective}`, {
        validFrom: iso(data.effective as string),
        pos,
        assert: { value: `${data.code} ${data.value} ${data.status}` },
      });
    }
  }

  private readBundle({ text, position: pos }: OracleMessage): void {
    interface Resource {
      readonly resourceType: string;
      readonly meta: { lastUpdated: string };
      readonly identifier: { system: string; value: string }[];
      readonly name: { family: string; given: string[] }[];
      readonly gender: string;
      readonly birthDate: string;
      readonly status: string;
      readonly code: { coding: { code: string }[] };
      readonly valueQuantity: { value: number };
      readonly effectiveDateTime: string;
      readonly onsetDateTime: string;
    }
    const { entry } = JSON.parse(text) as { entry: { resource: Resource }[] };
    const patient = entry.find(({ resource }) => resource.resourceType === 'Patient')?.resource as Resource;
    const [number] = patient.identifier;
    const record = HospitalOracle.record(number?.system ?? '', number?.value ?? '');
    const [name] = patient.name;
    this.say(record, 'PATIENT|', {
      validFrom: iso(patient.meta.lastUpdated),
      pos,
      assert: {
        name: { family: name?.family, given: name?.given },
        birthDate: patient.birthDate,
        gender: patient.gender.toUpperCase(),
      },
      end: ['telecom'],
    });
    for (const { resource } of entry) {
      const id = resource.identifier[0]?.value;
      const code = resource.code?.coding[0]?.code;
      if (resource.resourceType === 'Observation') {
        this.say(record, `RESULT|fhir|${id}`, {
          validFrom: iso(resource.effectiveDateTime),
          pos,
          assert: { value: `${code} ${resource.valueQuantity.value} ${resource.status}` },
          moves: true,
        });
      } else if (resource.resourceType === 'Condition') {
        this.say(record, `CONDITION|fhir|${id}`, {
          validFrom: iso(resource.onsetDateTime),
          pos,
          assert: { value: code },
          moves: true,
        });
      }
    }
  }

  private rows(record: string, thing: string): OracleRow[] {
    const key = `${record}//${thing}`;
    let rows = this.cached.get(key);
    if (rows === undefined) {
      const slots = thing.startsWith('PATIENT') ? PERSON_SLOTS : thing.startsWith('VISIT') ? VISIT_SLOTS : FACT_SLOTS;
      rows = rowsOf(this.records.get(record)?.statements.get(thing) ?? [], slots);
      this.cached.set(key, rows);
    }
    return rows;
  }

  /** What a patient of these records shows at (K, V); undefined where nothing stands of them. */
  chart(records: readonly string[], known: bigint, valid: string): OracleChart | undefined {
    const people = records.map((record) => this.rows(record, 'PATIENT|'));
    const slot = (name: string): unknown => asOfAll(people, name, known, valid) ?? null;
    const things = (kind: string): string[] =>
      records
        .flatMap((record) =>
          [...(this.records.get(record)?.statements.keys() ?? [])]
            .filter((thing) => thing.startsWith(`${kind}|`))
            .flatMap((thing) => {
              const found = asOf(this.rows(record, thing), 'value', known, valid);
              return found === undefined ? [] : [String(found.value)];
            }),
        )
        .sort();
    const visits = records
      .flatMap((record) =>
        [...(this.records.get(record)?.statements.keys() ?? [])]
          .filter((thing) => thing.startsWith('VISIT|'))
          .flatMap((thing) => {
            const values = VISIT_SLOTS.map((name) => asOf(this.rows(record, thing), name, known, valid)?.value ?? '');
            return values.every((value) => value === '')
              ? []
              : [[thing.slice('VISIT|'.length), ...values.map(String)].join(' ')];
          }),
      )
      .sort();
    const chart: OracleChart = {
      name: slot('name') as OracleChart['name'],
      birthDate: slot('birthDate') as string | null,
      sex: slot('gender') as string | null,
      phone: slot('telecom') as string | null,
      color: slot('attribute:favoriteColor') as string | null,
      visits,
      results: things('RESULT'),
      conditions: things('CONDITION'),
      allergies: things('ALLERGY'),
      vaccines: things('VACCINE'),
    };
    const empty = Object.values(chart).every((value) => value === null || (Array.isArray(value) && value.length === 0));
    return empty ? undefined : chart;
  }
}
