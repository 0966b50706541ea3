/** One person's way through the hospital: what happens, and the messages that tell of it. */
import { addMicroseconds } from '../time/clock.js';
import type { Instant } from '../time/valid-time.js';
import { evn, hl7Message, nk1, notes, noteText, obr, obx, pid, pv1, segment, hl7Time } from './hl7.js';
import type { Demographics, VisitState, WrittenResult } from './hl7.js';
import type { Quirk, SimulatedKind, SimulatedMessage, Truth } from './message.js';
import { inventAddress, otherFamily, secondMrn, withoutMarks, type Person } from './people.js';
import type { Random } from './random.js';
import { ALLERGIES, DIAGNOSES, PANELS, VACCINES, VITALS, WARDS, type Measure } from './vocabulary.js';

export interface JourneySettings {
  /** Messages are filled up with notes to about this size. */
  readonly sizeBytes?: number;
}

const MINUTE_US = 60_000_000;

interface Order {
  readonly number: string;
  readonly panel: { readonly code: string; readonly display: string };
  readonly results: readonly WrittenResult[];
}

/** Something that is told a few messages later. */
interface FollowUp {
  wait: number;
  readonly tell: () => SimulatedMessage;
}

type Details = Partial<Omit<Truth, 'person' | 'controlId' | 'identifier' | 'name' | 'birthDate' | 'trigger'>>;

/** Yields exactly the messages asked for, in the order in which they are sent. */
export class Journey {
  private now: Instant;
  private sent = 0;
  private visits = 0;
  private orders = 0;
  private who: Demographics;
  private visit: VisitState | undefined;
  /** When the visit came to where it is; undefined where it was admitted there. */
  private moved: { readonly at: Instant; readonly from: string } | undefined;
  private lastDischarge: { readonly visit: VisitState; readonly at: Instant } | undefined;
  private lastHl7:
    { readonly message: SimulatedMessage; readonly again: (controlId: string) => SimulatedMessage } | undefined;
  private last: SimulatedMessage | undefined;
  private registeredTwice = false;
  private registered = false;
  private readonly followUps: FollowUp[] = [];

  constructor(
    private readonly random: Random,
    private readonly person: Person,
    start: Instant,
    private readonly settings: JourneySettings,
  ) {
    this.now = start;
    const { mrn, family, given, address, phone } = person;
    this.who = { person, mrn, family, given, address, phone };
  }

  *messages(count: number): Generator<SimulatedMessage> {
    for (let index = 0; index < count; index += 1) {
      this.pass(2, 90);
      const message = this.next(count - index);
      this.last = message;
      yield message;
    }
  }

  private next(left: number): SimulatedMessage {
    if (!this.registered) {
      this.registered = true;
      return this.random.weighted<() => SimulatedMessage>([
        [55, () => this.admit()],
        [20, () => this.color()],
        [10, () => this.registerByEvent()],
        [8, () => this.update('A28')],
        [7, () => this.bundle()],
      ])();
    }
    for (const followUp of this.followUps) followUp.wait -= 1;
    // Whatever is begun is told to its end, as far as there are messages left.
    const due = this.followUps.findIndex((followUp) => followUp.wait <= 0 || this.followUps.length >= left);
    if (due >= 0) return (this.followUps.splice(due, 1)[0] as FollowUp).tell();
    return this.random.weighted<() => SimulatedMessage>([
      ...this.always(),
      ...(this.visit === undefined ? this.outside() : this.inside(this.visit)),
    ])();
  }

  private always(): [number, () => SimulatedMessage][] {
    return [
      [5, () => this.color()],
      [4, () => this.update('A08')],
      [2, () => this.update('A31')],
      [2, () => this.vaccinate()],
      [2, () => this.measuredAtHome()],
      [2, () => this.bundle()],
      [this.last === undefined ? 0 : 2, () => this.repeatLast()],
      [this.lastHl7 === undefined ? 0 : 1, () => this.reuseControlId()],
      [this.registeredTwice ? 0 : 1, () => this.registerTwice()],
    ];
  }

  private outside(): [number, () => SimulatedMessage][] {
    return [
      [14, () => this.admit()],
      [2, () => this.laboratory()],
      [this.lastDischarge === undefined ? 0 : 2, () => this.cancelDischarge()],
    ];
  }

  private inside(visit: VisitState): [number, () => SimulatedMessage][] {
    return [
      [24, () => this.vitals(visit)],
      [14, () => this.laboratory()],
      [7, () => this.transfer(visit)],
      [2, () => this.changeClass(visit)],
      [4, () => this.diagnose(visit)],
      [6, () => this.discharge(visit)],
      [this.moved === undefined ? 0 : 1.5, () => this.cancelTransfer(visit)],
      [this.moved === undefined ? 0.5 : 0, () => this.cancelAdmit(visit)],
    ];
  }

  /* ------------------------------------------------------------------------------------------------ visits */

  private admit(): SimulatedMessage {
    this.visits += 1;
    const admitted = this.ago(0, 10);
    const visit: VisitState = {
      number: `V${this.person.index}-${this.visits}`,
      patientClass: this.random.weighted([
        [6, 'I'],
        [3, 'E'],
        [2, 'O'],
      ]),
      location: this.bed(),
      admitted,
    };
    this.visit = visit;
    this.moved = undefined;
    const trigger = visit.patientClass === 'I' ? 'A01' : 'A04';
    return this.adt(trigger, 'ADT_A01', admitted, { visit: visit.number, location: visit.location }, [
      nk1(this.who.family, 'Robin'),
      pv1(visit, this.authority),
      ...(this.random.chance(0.3) ? [this.allergy()] : []),
      ...(this.random.chance(0.5) ? [this.diagnosis(admitted)] : []),
    ]);
  }

  private transfer(visit: VisitState): SimulatedMessage {
    const at = this.ago(1, 20);
    const moved = { ...visit, location: this.bed(visit.location) };
    this.visit = moved;
    this.moved = { at, from: visit.location };
    const tell = (quirk?: Quirk) => (): SimulatedMessage =>
      this.adt('A02', 'ADT_A02', at, { visit: visit.number, location: moved.location, quirk }, [
        pv1(moved, this.authority),
      ]);
    if (!this.random.chance(0.15)) return tell()();
    // The ward tells of it only after something else was told.
    this.later(this.random.between(1, 3), tell('late'));
    return this.vitals(moved);
  }

  private cancelTransfer(visit: VisitState): SimulatedMessage {
    const { at, from } = this.moved as { at: Instant; from: string };
    const back = { ...visit, location: from };
    this.visit = back;
    this.moved = undefined;
    return this.adt('A12', 'ADT_A12', at, { visit: visit.number, location: from, quirk: 'cancel' }, [
      pv1(back, this.authority),
    ]);
  }

  private cancelAdmit(visit: VisitState): SimulatedMessage {
    this.visit = undefined;
    return this.adt('A11', 'ADT_A09', visit.admitted, { visit: visit.number, quirk: 'cancel' }, [
      pv1(visit, this.authority),
    ]);
  }

  private changeClass(visit: VisitState): SimulatedMessage {
    const changed: VisitState = { ...visit, patientClass: visit.patientClass === 'I' ? 'O' : 'I' };
    this.visit = changed;
    return this.adt(changed.patientClass === 'I' ? 'A06' : 'A07', 'ADT_A06', this.ago(0, 5), { visit: visit.number }, [
      pv1(changed, this.authority),
    ]);
  }

  private discharge(visit: VisitState): SimulatedMessage {
    const at = this.ago(0, 15);
    const discharged = { ...visit, discharged: at };
    this.visit = undefined;
    this.moved = undefined;
    this.lastDischarge = { visit, at };
    return this.adt('A03', 'ADT_A03', at, { visit: visit.number }, [pv1(discharged, this.authority)]);
  }

  private cancelDischarge(): SimulatedMessage {
    const { visit, at } = this.lastDischarge as { visit: VisitState; at: Instant };
    this.lastDischarge = undefined;
    this.visit = visit;
    return this.adt('A13', 'ADT_A01', at, { visit: visit.number, quirk: 'cancel' }, [pv1(visit, this.authority)]);
  }

  private diagnose(visit: VisitState): SimulatedMessage {
    const at = this.ago(0, 5);
    return this.adt('A08', 'ADT_A01', at, { visit: visit.number }, [
      pv1(visit, this.authority),
      this.random.chance(0.4) ? this.allergy() : this.diagnosis(at),
    ]);
  }

  /* ------------------------------------------------------------------------------------------ demographics */

  private update(trigger: 'A08' | 'A31' | 'A28'): SimulatedMessage {
    if (trigger !== 'A28') {
      const change = this.random.between(0, 9);
      if (change < 5) this.who = { ...this.who, address: inventAddress(this.random) };
      else if (change < 8) this.who = { ...this.who, phone: `${this.who.phone.slice(0, 8)}${this.random.digits(2)}` };
      else this.who = { ...this.who, family: otherFamily(this.random, this.person.family) };
    }
    const visit = trigger === 'A08' ? this.visit : undefined;
    return this.adt(
      trigger,
      trigger === 'A08' ? 'ADT_A01' : 'ADT_A05',
      this.ago(0, 5),
      { visit: visit?.number },
      [segment('PV1', { 1: '1', 2: 'N' })].map((none) => (visit === undefined ? none : pv1(visit, this.authority))),
    );
  }

  /** A clerk does not find the person and registers them anew, hurriedly; some messages later it is put right. */
  private registerTwice(): SimulatedMessage {
    this.registeredTwice = true;
    const kept = this.who;
    const { authority } = this;
    const second: Demographics = { ...kept, mrn: secondMrn(this.person), family: withoutMarks(kept.family) };
    this.who = second;
    const message = this.adt('A28', 'ADT_A05', this.ago(0, 5), {}, [segment('PV1', { 1: '1', 2: 'N' })]);
    this.who = kept;
    this.later(this.random.between(2, 6), () =>
      this.adt(
        'A40',
        'ADT_A39',
        this.ago(0, 5),
        { quirk: 'merge', mergedIdentifier: { authority, value: second.mrn } },
        [segment('MRG', { 1: `${second.mrn}^^^${authority}^MR` })],
      ),
    );
    return message;
  }

  /* ------------------------------------------------------------------------------------ results, vaccinations */

  private vitals(visit: VisitState): SimulatedMessage {
    const at = this.ago(1, 15);
    const results = VITALS.slice(0, this.random.between(2, VITALS.length)).map((measure) => this.measured(measure, at));
    const order = this.order(
      { code: '85353-1', display: 'Vital signs, weight, height, head circumference, oxygen saturation and BMI panel' },
      results,
    );
    return this.oru('VITALS', order, 'F', { visit: visit.number });
  }

  private laboratory(): SimulatedMessage {
    const panel = this.random.pick(PANELS);
    const at = this.ago(20, 70);
    const results = panel.measures.map((measure) => this.measured(measure, at));
    const order = this.order(panel, results);
    const preliminary = this.random.chance(0.2);
    if (preliminary)
      this.later(this.random.between(1, 4), () => this.oru('LAB', order, 'F', { visit: this.visit?.number }));
    if (this.random.chance(0.12)) {
      // A tube was mixed up: one value of it is corrected, at the same time and under the same order.
      const [wrong, ...rest] = results as [WrittenResult, ...WrittenResult[]];
      const corrected = { ...order, results: [this.measured(wrong.measure, at), ...rest] };
      this.later(this.random.between(4, 8), () => this.oru('LAB', corrected, 'C', { quirk: 'correction' }));
    }
    if (this.random.chance(0.08)) {
      this.later(this.random.between(2, 5), () => this.oru('LAB', order, 'F', { quirk: 'late' }));
      return this.color();
    }
    return this.oru('LAB', order, preliminary ? 'P' : 'F', { visit: this.visit?.number });
  }

  private oru(application: string, order: Order, status: string, details: Details): SimulatedMessage {
    const results = order.results.map((result) => ({ ...result, status }));
    const first = results[0] as WrittenResult;
    return this.hl7(
      application,
      'ORU^R01',
      'ORU_R01',
      {
        ...details,
        validTime: first.at,
        results: results.map(({ measure, value, at }) => ({
          order: order.number,
          code: measure.code,
          value: value.toFixed(measure.decimals),
          status,
          at,
        })),
      },
      () => [
        pid(this.who),
        obr(order.number, order.panel.code, order.panel.display, first.at, this.now, status),
        ...results.map((result, index) => obx(index + 1, result)),
      ],
    );
  }

  private vaccinate(): SimulatedMessage {
    const [cvx, display] = this.random.pick(VACCINES);
    const at = this.ago(5, 60);
    const lot = this.random.digits(6);
    const order = `${this.person.index}-I${(this.orders += 1)}`;
    return this.hl7('IMM', 'VXU^V04', 'VXU_V04', { validTime: at }, () => [
      pid(this.who),
      segment('ORC', { 1: 'RE', 3: `F${order}^IMM` }),
      segment('RXA', {
        1: '0',
        2: '1',
        3: hl7Time(at),
        4: hl7Time(at),
        5: `${cvx}^${display}^CVX`,
        6: '0.5',
        7: 'mL^^UCUM',
        15: lot,
        20: 'CP',
        21: 'A',
      }),
    ]);
  }

  /* ------------------------------------------------------------------------------------- JSON events and FHIR */

  private color(): SimulatedMessage {
    const { favoriteColor } = this.person;
    return this.event('patient.attributes', this.ago(0, 30), { favoriteColor }, { favoriteColor });
  }

  private registerByEvent(): SimulatedMessage {
    return this.event('patient.registered', this.ago(0, 30), {}, {});
  }

  private measuredAtHome(): SimulatedMessage {
    const at = this.ago(10, 600);
    const measure = VITALS[this.random.between(0, 3)] as Measure;
    const { value } = this.measured(measure, at);
    const data = {
      code: measure.code,
      system: 'http://loinc.org',
      display: measure.display,
      value,
      unit: measure.unit,
      status: 'final',
      effective: at,
      category: 'vital-signs',
    };
    return this.event('observation.recorded', at, data, {
      results: [{ code: measure.code, value: value.toFixed(measure.decimals), status: 'final', at }],
    });
  }

  private bundle(): SimulatedMessage {
    const controlId = this.controlId();
    const { person } = this;
    const at = this.ago(0, 10);
    const measured = this.ago(10, 60);
    const measure = this.random.pick(VITALS);
    const { value } = this.measured(measure, measured);
    const [icd, condition] = this.random.pick(DIAGNOSES);
    const patient = `urn:uuid:${uuidOf(this.random)}`;
    const subject = { reference: patient };
    const entry = (resource: Record<string, unknown>, fullUrl = `urn:uuid:${uuidOf(this.random)}`) => ({
      fullUrl,
      resource,
    });
    const note = this.padding(900);
    const resources = [
      entry(
        {
          resourceType: 'Patient',
          meta: { lastUpdated: at },
          identifier: [
            {
              type: { coding: [{ system: 'http://terminology.hl7.org/CodeSystem/v2-0203', code: 'MR' }] },
              system: person.hospital.fhirSystem,
              value: this.who.mrn,
            },
          ],
          name: [{ use: 'official', family: this.who.family, given: this.who.given }],
          gender: person.sex === 'F' ? 'female' : 'male',
          birthDate: person.birthDate,
        },
        patient,
      ),
      entry({
        resourceType: 'Observation',
        identifier: [{ system: 'https://anamnesis.example/observation', value: `${controlId}-O` }],
        status: 'final',
        code: { coding: [{ system: 'http://loinc.org', code: measure.code, display: measure.display }] },
        subject,
        effectiveDateTime: measured,
        valueQuantity: { value, unit: measure.unit, system: 'http://unitsofmeasure.org', code: measure.unit },
        ...(note === '' ? {} : { note: [{ text: note }] }),
      }),
      ...(this.random.chance(0.5)
        ? [
            entry({
              resourceType: 'Condition',
              identifier: [{ system: 'https://anamnesis.example/condition', value: `${person.index}-${icd}` }],
              clinicalStatus: {
                coding: [{ system: 'http://terminology.hl7.org/CodeSystem/condition-clinical', code: 'active' }],
              },
              code: { coding: [{ system: 'http://hl7.org/fhir/sid/icd-10-cm', code: icd, display: condition }] },
              subject,
              onsetDateTime: measured.slice(0, 10),
            }),
          ]
        : []),
    ];
    const bundle = {
      resourceType: 'Bundle',
      identifier: { system: 'https://anamnesis.example/bundle', value: controlId },
      type: 'collection',
      timestamp: at,
      entry: resources,
    };
    return this.finish('fhir', 'Bundle', controlId, JSON.stringify(bundle), {
      validTime: at,
      results: [{ code: measure.code, value: value.toFixed(measure.decimals), status: 'final', at: measured }],
    });
  }

  private event(type: string, ts: Instant, data: Record<string, unknown>, details: Details): SimulatedMessage {
    const eventId = this.controlId();
    const { person, who } = this;
    const note = this.padding(400);
    const event = {
      eventId,
      type,
      ts,
      patient: {
        identifiers: [{ authority: this.authority, value: who.mrn, type: 'MR' }],
        name: { family: who.family, given: who.given },
        birthDate: person.birthDate,
        sex: person.sex === 'F' ? 'female' : 'male',
        ...(note === '' ? {} : { comment: note }),
      },
      data,
    };
    return this.finish('event', type, eventId, JSON.stringify(event), { validTime: ts, ...details });
  }

  /* -------------------------------------------------------------------------------------------- sent again */

  private repeatLast(): SimulatedMessage {
    const last = this.last as SimulatedMessage;
    return { ...last, at: this.now, truth: { ...last.truth, quirk: 'duplicate' } };
  }

  /** An interface engine was started anew and counts from an earlier number again. */
  private reuseControlId(): SimulatedMessage {
    const { message, again } = this.lastHl7 as NonNullable<Journey['lastHl7']>;
    const repeated = again(message.truth.controlId);
    return { ...repeated, truth: { ...repeated.truth, quirk: 'conflict' } };
  }

  /* ----------------------------------------------------------------------------------------------- writing */

  private get authority(): string {
    return this.person.hospital.authority;
  }

  private adt(
    trigger: string,
    structure: string,
    at: Instant,
    details: Details,
    segments: readonly string[],
  ): SimulatedMessage {
    return this.hl7('ADT', `ADT^${trigger}`, structure, { validTime: at, ...details }, () => [
      evn(trigger, this.now, at),
      pid(this.who),
      ...segments,
    ]);
  }

  private hl7(
    application: string,
    type: string,
    structure: string,
    details: Details,
    segments: () => readonly string[],
  ): SimulatedMessage {
    const write = (controlId: string): SimulatedMessage => {
      const head = { application, facility: this.authority, at: this.now, type, structure, controlId };
      const text = hl7Message(head, segments());
      const missing = (this.settings.sizeBytes ?? 0) - text.length;
      const padded = missing > 0 ? `${text}${notes(this.random, missing).join('\r')}\r` : text;
      return this.finish('hl7', type, controlId, padded, details);
    };
    const message = write(this.controlId());
    this.lastHl7 = { message, again: write };
    return message;
  }

  private finish(
    kind: SimulatedKind,
    trigger: string,
    controlId: string,
    text: string,
    details: Details,
  ): SimulatedMessage {
    const { person, who } = this;
    const truth: Truth = {
      person: person.index,
      trigger,
      controlId,
      identifier: { authority: kind === 'fhir' ? person.hospital.fhirSystem : this.authority, value: who.mrn },
      validTime: this.now,
      name: { family: who.family, given: who.given },
      birthDate: person.birthDate,
      ...Object.fromEntries(Object.entries(details).filter(([, value]) => value !== undefined)),
    };
    return { kind, bytes: Buffer.from(text, 'utf8'), at: this.now, truth };
  }

  private controlId(): string {
    this.sent += 1;
    return `${this.person.index.toString(36).toUpperCase()}-${this.sent}`;
  }

  private padding(written: number): string {
    const missing = (this.settings.sizeBytes ?? 0) - written;
    return missing > 0 ? noteText(this.random, missing) : '';
  }

  private allergy(): string {
    const [type, code, display, system, reaction] = this.random.pick(ALLERGIES);
    return segment('AL1', { 1: '1', 2: type, 3: `${code}^${display}^${system}`, 4: 'MO', 5: reaction });
  }

  private diagnosis(at: Instant): string {
    const [code, display] = this.random.pick(DIAGNOSES);
    return segment('DG1', { 1: '1', 3: `${code}^${display}^I10C`, 5: hl7Time(at), 6: 'W' });
  }

  private measured(measure: Measure, at: Instant): WrittenResult {
    const width = measure.high - measure.low;
    const drawn = measure.low + (this.random.fraction() * 1.5 - 0.25) * width;
    return { measure, value: Number(Math.max(drawn, 0).toFixed(measure.decimals)), status: 'F', at };
  }

  private order(panel: { code: string; display: string }, results: readonly WrittenResult[]): Order {
    this.orders += 1;
    return { number: `${this.person.index}-${this.orders}`, panel, results };
  }

  private bed(other?: string): string {
    for (;;) {
      const location = `${this.random.pick(WARDS)}^${this.random.between(1, 24)}^${this.random.between(1, 2)}`;
      if (location !== other) return location;
    }
  }

  private later(wait: number, tell: () => SimulatedMessage): void {
    this.followUps.push({ wait: wait + 1, tell });
  }

  /** Between so many minutes before now, never before the journey could have begun; to the tenth of a millisecond. */
  private ago(least: number, most: number): Instant {
    return addMicroseconds(this.now, -this.random.between(least * 10_000, most * 10_000) * (MINUTE_US / 10_000));
  }

  private pass(least: number, most: number): void {
    this.now = addMicroseconds(this.now, this.random.between(least * MINUTE_US, most * MINUTE_US));
  }
}

function uuidOf(random: Random): string {
  let hex = '';
  for (let index = 0; index < 32; index += 1) hex += random.between(0, 15).toString(16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20)}`;
}
