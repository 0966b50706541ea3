import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { DuckDBInstance } from '@duckdb/node-api';
import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import type pg from 'pg';
import { openPool } from '../../src/database/database.js';
import {
  graphql,
  ROOT,
  startHubProcess,
  temporaryDataDir,
  until,
  untilCaughtUp,
  type HubProcess,
} from '../support/hub-process.js';

/** Enough that what a row may show at all is shown. */
const PATIENTS = process.env['ANAMNESIS_TEST_SCALE'] === 'full' ? 10_000 : 13;

/** Every field of every person has a text of its own that stands nowhere else: `Zq7xPID5c2`. */
const CANARY = /zq\d+x[a-z]/i;
/** The same for what must be a number or a date: days and instants of birth and care, a telephone, a postal code, a measured value. */
const NUMBERS = ['19840229', '1984-02-29', '5550173', '60699', '7316.4159'];
/** Fewer digits than this stand in random ids now and then: they count where they stand by themselves. */
const LONG_DIGITS = 7;

function hits(text: string): string[] {
  const found = NUMBERS.filter((number) =>
    number.length < LONG_DIGITS ? new RegExp(`(?<![\\da-f])${number}(?![\\da-f])`).test(text) : text.includes(number),
  );
  const canary = CANARY.exec(text);
  return canary === null ? found : [...found, text.slice(canary.index, canary.index + 24)];
}

const FIELDS = 45;
const token = (person: number, place: string): string => `Zq${person}x${place}`;

/** A segment with a canary in every component of every field, but for what would make it another message. */
function segment(person: number, name: string, fixed: Readonly<Record<number, string>> = {}): string {
  const fields = Array.from({ length: FIELDS }, (_, index) => {
    const given = fixed[index + 1];
    if (given !== undefined) return given;
    return [1, 2, 3, 4].map((part) => token(person, `${name}${index + 1}c${part}`)).join('^');
  });
  return [name, ...fields].join('|');
}

const DIAGNOSIS = (person: number): string => `E11.9^${token(person, 'DG1text')}^I10C`;

/** Every segment of HL7 v2.3 to v2.9 (chapters 2 to 17), but for those that frame messages and batches. */
const SEGMENTS = (
  'ABS ACC ADD ADJ AFF AIG AIL AIP AIS AL1 APR ARQ ARV AUT BLC BLG BPO BPX BTX BUI CDM CDO CER CM0 CM1 CM2 CNS CON CSP CSR CSS CTD CTI CTR DB1 ' +
  'DEV DG1 DMI DON DPS DRG DSC DSP DST ECD ECR EDU EQL EQP EQU ERQ ERR EVN FAC FT1 GOL GP1 GP2 GT1 IAM IAR IIM ILT IN1 IN2 IN3 INV IPC IPR ISD ITM ' +
  'IVC IVT LAN LCC LCH LDP LOC LRL MCP MFA MFE MFI MRG NCK NDS NK1 NPU NSC NST NTE OBR OBX ODS ODT OH1 OH2 OH3 OH4 OM1 OM2 OM3 OM4 OM5 OM6 OM7 OMC ' +
  'ORC ORG OVR PAC PCE PCR PD1 PDA PDC PEO PES PID PKG PM1 PMT PR1 PRA PRB PRC PRD PRT PSG PSH PSL PSS PTH PV1 PV2 PYE QAK QID QPD QRD QRF QRI RCP ' +
  'RDF RDT REL RF1 RFI RGS RMI RNP ROL RQ1 RQD RXA RXC RXD RXE RXG RXO RXR RXV SAC SCD SCH SCP SDD SFT SGH SGT SHP SID SLT SPM SPR STF STZ TCC TCD ' +
  'TQ1 TQ2 TXA UAC UB1 UB2 URD URS VAR VND VTQ ZXX'
).split(' ');

/** Those that no other message here has, in one; a message without MRG, which would be a merge. */
function otherSegments(person: number): string {
  const sent = messages(person);
  const [head, event, pid] = (sent[0] as string).split('\r') as [string, string, string];
  const names = new Set(sent.flatMap((message) => message.split('\r').map((line) => line.slice(0, 3))));
  const others = SEGMENTS.filter((name) => !names.has(name) && name !== 'MRG');
  const lines = others.map((name) => segment(person, name));
  return [head.replace('A01^ADT_A01', 'A08^ADT_A01').replace('MSH10n1', 'MSH10n0'), event, pid, ...lines].join('\r');
}

/** Messages of one person that together have every segment of HL7 v2 that is about people and their care. */
function messages(person: number): string[] {
  const head = (type: string, n: number): string =>
    `MSH|^~\\&|${token(person, 'MSH3')}|${token(person, 'MSH4')}|HUB|H|20240301120000||${type}|${token(person, `MSH10n${n}`)}|P|2.5.1`;
  const pid = segment(person, 'PID', {
    1: '1',
    3: `${token(person, 'PID3')}^^^CANARY^MR`,
    5: `${token(person, 'PID5family')}^${token(person, 'PID5given')}`,
    7: '19840229',
    8: 'F',
    10: `2106-3^${token(person, 'PID10')}^HL70005`,
    11: `${token(person, 'PID11street')}^^${token(person, 'PID11city')}^IL^60699^USA`,
    13: `^PRN^PH^^1^312^5550173`,
    22: `2186-5^${token(person, 'PID22')}^CDCREC`,
    29: '',
    30: '',
  });
  const pv1 = segment(person, 'PV1', { 1: '1', 2: 'I', 10: 'CAR', 44: '20240301110000', 45: '' });
  const obx = (name: string, fixed: Record<number, string>): string =>
    segment(person, 'OBX', { 1: '1', 11: 'F', 14: '20240301', ...fixed, 99: name });
  const with_ = (names: string): string[] => names.split(' ').map((name) => segment(person, name));
  const visit = [pid, pv1];
  return [
    [
      head('ADT^A01^ADT_A01', 1),
      segment(person, 'EVN', { 1: 'A01', 2: '20240301110000', 6: '20240301110000' }),
      pid,
      ...with_('PD1 ROL NK1'),
      pv1,
      ...with_('PV2 DB1'),
      obx('number', { 2: 'NM', 3: `8302-2^${token(person, 'OBX3')}^LN`, 5: '7316.4159', 6: 'cm', 8: 'H' }),
      ...with_('AL1 IAM'),
      segment(person, 'DG1', { 1: '1', 3: DIAGNOSIS(person), 5: '20240229', 6: 'F', 21: '' }),
      ...with_('DRG PR1 GT1 IN1 IN2 IN3 ACC UB1 UB2 PDA ARV CON ZXX'),
    ],
    [
      head('ORU^R01^ORU_R01', 2),
      ...visit,
      ...with_('ORC'),
      segment(person, 'OBR', { 7: '20240301', 25: 'F' }),
      ...with_('NTE CTD TQ1'),
      obx('code', { 2: 'CE', 3: `${token(person, 'OBXcode')}^x^LN` }),
      obx('text', { 2: 'TX', 3: `2345-7^${token(person, 'OBXtext')}^LN` }),
      obx('coded', { 2: 'CWE', 3: '11502-2^x^LN', 5: `${token(person, 'OBX5')}^x^SCT` }),
      ...with_('NTE SPM CTI'),
    ],
    [
      head('VXU^V04^VXU_V04', 3),
      ...visit,
      ...with_('ORC'),
      segment(person, 'RXA', { 3: '20240301', 5: `140^${token(person, 'RXA5')}^CVX`, 20: 'CP', 21: 'A' }),
      ...with_('RXR OBX NTE'),
    ],
    [head('RDE^O11^RDE_O11', 4), ...visit, ...with_('AL1 ORC RXE NTE TQ1 TQ2 RXR RXC OBX FT1 CTI')],
    [head('RDS^O13^RDS_O13', 5), ...visit, ...with_('ORC RXO RXE RXR RXD NTE')],
    [head('SIU^S12^SIU_S12', 6), ...with_('SCH TQ1 NTE'), ...visit, ...with_('RGS AIS AIG AIL AIP')],
    [head('MDM^T02^MDM_T02', 7), segment(person, 'EVN', { 1: 'T02' }), ...visit, ...with_('ORC OBR TXA OBX')],
    [head('DFT^P03^DFT_P03', 8), segment(person, 'EVN', { 1: 'P03' }), ...visit, ...with_('FT1 PR1 GT1 IN1')],
    [head('ORM^O01^ORM_O01', 9), ...visit, ...with_('ORC OBR NTE DG1 BLG ODS ODT RQD RQ1')],
    [head('PPR^PC1^PPR_PC1', 10), ...visit, ...with_('PRB NTE GOL PTH VAR OBX')],
    [head(token(person, 'MSH9'), 11), ...with_('PID ZZZ QPD RCP')],
  ].map((lines) => lines.join('\r'));
}

/** Elements of R4 resources beside those that every one of them has here: c a concept, r a reference, b a backbone element, s a text, d a day. */
const FHIR_ELEMENTS: Readonly<Record<string, string>> = {
  Patient: 'maritalStatus:c generalPractitioner:r managingOrganization:r link:b',
  Encounter:
    'statusHistory:b classHistory:b type:c priority:c episodeOfCare:r basedOn:r participant:b appointment:r reasonCode:c reasonReference:r diagnosis:b account:r hospitalization:b serviceProvider:r partOf:r',
  Observation:
    'basedOn:r partOf:r category:c focus:r encounter:r effectiveDateTime:d issued:s dataAbsentReason:c bodySite:c method:c specimen:r device:r referenceRange:b hasMember:r derivedFrom:r component:b',
  Condition:
    'category:c severity:c bodySite:c encounter:r onsetString:s abatementString:s recordedDate:d recorder:r asserter:r stage:b evidence:b',
  Immunization:
    'statusReason:c encounter:r occurrenceDateTime:d recorded:d reportOrigin:c manufacturer:r lotNumber:s expirationDate:d site:c route:c reasonCode:c reasonReference:r subpotentReason:c education:b programEligibility:c fundingSource:c reaction:b protocolApplied:b',
  AllergyIntolerance: 'encounter:r onsetString:s recordedDate:d recorder:r asserter:r lastOccurrence:d reaction:b',
  Procedure:
    'basedOn:r partOf:r statusReason:c category:c encounter:r performedDateTime:d recorder:r asserter:r reasonCode:c reasonReference:r bodySite:c outcome:c report:r complication:c complicationDetail:r followUp:c focalDevice:b usedReference:r usedCode:c',
  DiagnosticReport:
    'basedOn:r category:c encounter:r effectiveDateTime:d resultsInterpreter:r specimen:r result:r imagingStudy:r media:b conclusion:s conclusionCode:c presentedForm:b',
  ServiceRequest:
    'basedOn:r replaces:r category:c orderDetail:c encounter:r occurrenceDateTime:d authoredOn:d requester:r performerType:c locationCode:c reasonCode:c reasonReference:r insurance:r supportingInfo:r specimen:r bodySite:c patientInstruction:s relevantHistory:r',
  MedicationRequest:
    'statusReason:c category:c medicationCodeableConcept:c encounter:r supportingInformation:r authoredOn:d requester:r performerType:c recorder:r reasonCode:c reasonReference:r basedOn:r courseOfTherapyType:c insurance:r dosageInstruction:b dispenseRequest:b substitution:b detectedIssue:r eventHistory:r',
  MedicationAdministration:
    'statusReason:c category:c medicationCodeableConcept:c context:r effectiveDateTime:d reasonCode:c reasonReference:r request:r device:r dosage:b eventHistory:r',
  MedicationStatement:
    'basedOn:r partOf:r statusReason:c category:c medicationCodeableConcept:c context:r effectiveDateTime:d dateAsserted:d informationSource:r derivedFrom:r reasonCode:c reasonReference:r dosage:b',
  DocumentReference:
    'type:c category:c date:d author:r authenticator:r custodian:r relatesTo:b description:s securityLabel:c content:b context:b',
  Coverage:
    'type:c policyHolder:r subscriber:r subscriberId:s beneficiary:r dependent:s relationship:c payor:r class:b network:s costToBeneficiary:b contract:r',
  Appointment:
    'cancelationReason:c serviceCategory:c serviceType:c specialty:c appointmentType:c reasonCode:c reasonReference:r description:s supportingInformation:r slot:r comment:s patientInstruction:s basedOn:r participant:b',
  RelatedPerson: 'relationship:c',
  FamilyMemberHistory:
    'dataAbsentReason:c relationship:c sex:c bornString:s reasonCode:c reasonReference:r condition:b',
  Specimen:
    'accessionIdentifier:b type:c receivedTime:d parent:r request:r collection:b processing:b container:b condition:c',
  Claim:
    'type:c subType:c created:d enterer:r insurer:r provider:r priority:c fundsReserve:c related:b prescription:r payee:b referral:r facility:r careTeam:b supportingInfo:b diagnosis:b procedure:b insurance:b accident:b item:b',
};
/** Of these one value, of all others a list. */
const SINGLE =
  /^(priority|hospitalization|serviceProvider|encounter|dataAbsentReason|bodySite|method|specimen|device|severity|recorder|asserter|statusReason|reportOrigin|manufacturer|site|route|fundingSource|outcome|maritalStatus|managingOrganization|requester|performerType|medicationCodeableConcept|courseOfTherapyType|dispenseRequest|substitution|context|dosage|informationSource|authenticator|custodian|type|policyHolder|subscriber|beneficiary|cancelationReason|appointmentType|relationship|sex|accessionIdentifier|collection|subType|enterer|insurer|provider|fundsReserve|prescription|payee|referral|facility|accident)$/;

const FHIR_TYPES = (
  'Patient Encounter Observation Condition Immunization AllergyIntolerance Procedure DiagnosticReport ServiceRequest MedicationRequest ' +
  'MedicationAdministration MedicationStatement DocumentReference Coverage Appointment RelatedPerson FamilyMemberHistory Specimen Claim'
).split(' ');

/** A bundle about one person: of every type a resource whose elements, of every shape they have, hold canaries. */
function bundle(person: number): object {
  const at = (place: string): string => token(person, place);
  const concept = (place: string, system?: string, code?: string): object => ({
    coding: [
      {
        system: system ?? at(`${place}system`),
        code: code ?? at(`${place}code`),
        display: at(`${place}display`),
        version: at(`${place}version`),
      },
    ],
    text: at(`${place}text`),
  });
  const elementsOf = (type: string): object =>
    Object.fromEntries(
      (FHIR_ELEMENTS[type] ?? '').split(' ').map((element) => {
        const [name, shape] = element.split(':') as [string, string];
        const place = `${type}${name}`;
        const value =
          shape === 'c'
            ? concept(place)
            : shape === 'r'
              ? { display: at(place), identifier: { system: at(`${place}s`), value: at(`${place}v`) } }
              : shape === 'b'
                ? {
                    text: at(place),
                    note: at(`${place}note`),
                    type: concept(`${place}type`),
                    extension: [{ url: at(`${place}u`), valueString: at(`${place}x`) }],
                  }
                : shape === 'd'
                  ? '2024-03-01'
                  : at(place);
        return [name, typeof value === 'string' || SINGLE.test(name) ? value : [value]];
      }),
    );
  const resources = FHIR_TYPES.map((resourceType) => ({
    ...elementsOf(resourceType),
    resourceType,
    id: `zq${person}x${resourceType}`,
    text: { status: 'generated', div: `<div>${at('div')}</div>` },
    extension: [{ url: at('url'), valueString: at('extension') }],
    contained: [{ resourceType: 'Organization', name: at('contained') }],
    identifier: [
      { system: at('system'), value: at(`${resourceType}identifier`), assigner: { display: at('assigner') } },
    ],
    note: [{ text: at('note'), authorString: at('author') }],
    performer: [{ display: at('performer') }],
    location: [{ location: { display: at('location') } }],
    ...(resourceType === 'Patient' || resourceType === 'RelatedPerson'
      ? {
          name: [{ family: at('family'), given: [at('given')], text: at('name'), prefix: [at('prefix')] }],
          telecom: [{ system: 'phone', value: `${at('phone')} 5550173` }],
          address: [{ line: [at('line')], city: at('city'), state: at('state'), postalCode: '60699', country: 'US' }],
          birthDate: '1984-02-29',
          gender: 'female',
          contact: [{ name: { family: at('contact') } }],
          communication: [{ language: concept('language') }],
          photo: [{ title: at('photo') }],
        }
      : { subject: { reference: `Patient/zq${person}xPatient`, display: at('subject') } }),
    ...(resourceType === 'RelatedPerson' ? { patient: { reference: `Patient/zq${person}xPatient` } } : {}),
    ...(resourceType === 'Encounter'
      ? {
          class: { system: at('class'), code: at('classcode') },
          serviceType: concept('service'),
          status: 'finished',
          period: { start: '2024-02-28', end: '2024-03-02' },
        }
      : {
          status: 'final',
          code:
            resourceType === 'Condition'
              ? concept('code', 'http://snomed.info/sct', '73211009')
              : concept('code', 'http://loinc.org', '2823-3'),
        }),
    ...(resourceType === 'Observation'
      ? {
          valueQuantity: { value: 7316.4159, unit: at('unit'), code: at('ucum') },
          interpretation: [concept('interpretation')],
        }
      : {}),
    ...(resourceType === 'Immunization'
      ? {
          vaccineCode: concept('vaccine', 'http://hl7.org/fhir/sid/cvx'),
          patient: { reference: `Patient/zq${person}xPatient` },
        }
      : {}),
  }));
  return {
    resourceType: 'Bundle',
    type: 'transaction',
    entry: resources.map((resource) => ({
      fullUrl: `http://canary.example/${resource.resourceType}/${resource.id}`,
      resource,
      request: { method: 'PUT', url: `${resource.resourceType}/${resource.id}` },
    })),
  };
}

function event(person: number): object {
  return {
    eventId: token(person, 'eventId'),
    type: 'patient.attributes',
    ts: '2024-03-01T10:15:00Z',
    patient: {
      identifiers: [{ authority: 'CANARY', value: token(person, 'PID3'), type: 'MR' }],
      name: { family: token(person, 'PID5family'), given: [token(person, 'PID5given')] },
      birthDate: '1984-02-29',
    },
    data: { favoriteColor: token(person, 'color'), nickname: token(person, 'nickname') },
  };
}

const AT_ONCE = 13;
/** A hub starts and takes everything in. */

let hub: HubProcess;
let pool: pg.Pool;
let remove: () => Promise<void>;
let folder: string;
const problems: string[] = [];

async function post(address: string, type: string, body: string): Promise<number> {
  const response = await fetch(`${hub.run.http}${address}`, {
    method: 'POST',
    headers: { 'content-type': type },
    body,
  });
  const text = await response.text();
  if (response.status >= 400) problems.push(text);
  return response.status;
}

/** Takes the spans of every process of the hub, as an SDK does that who runs it loads (docs/operations.md), and writes down all that is in them. */
const SPAN_RECORDER = `
import { appendFileSync } from 'node:fs';
const { trace } = await import(process.env.CANARY_OTEL_API);
const write = (...parts) => appendFileSync(process.env.CANARY_SPANS, JSON.stringify(parts) + '\\n');
const span = {
  spanContext: () => ({ traceId: '1'.repeat(32), spanId: '1'.repeat(16), traceFlags: 1 }),
  isRecording: () => true,
  ...Object.fromEntries(['setAttribute', 'setAttributes', 'addEvent', 'addLink', 'addLinks', 'setStatus', 'updateName', 'recordException', 'end'].map(
    (name) => [name, (...given) => (write(name, ...given.map((one) => (one instanceof Error ? [one.message, one.stack] : one))), span)])),
};
trace.setGlobalTracerProvider({ getTracer: () => ({ startSpan: (name, options) => (write(name, options), span), startActiveSpan: (name, ...rest) => rest.at(-1)(span) }) });
`;

beforeAll(async () => {
  const data = await temporaryDataDir();
  ({ remove } = data);
  folder = path.dirname(data.dataDir);
  await mkdir(folder, { recursive: true });
  await writeFile(
    path.join(folder, 'hub.yaml'),
    'anonymized: { rowRelease: immediate }\nexports: { clinical: true }\n',
  );
  await writeFile(path.join(folder, 'spans.mjs'), SPAN_RECORDER);
  const traced = {
    NODE_OPTIONS: `--import ${pathToFileURL(path.join(folder, 'spans.mjs')).href}`,
    CANARY_OTEL_API: pathToFileURL(createRequire(path.join(ROOT, 'package.json')).resolve('@opentelemetry/api')).href,
    CANARY_SPANS: path.join(folder, 'spans.ndjson'),
  };
  hub = await startHubProcess(data.dataDir, { ANAMNESIS_LOG_LEVEL: 'trace', ...traced }, [
    '--config',
    path.join(folder, 'hub.yaml'),
  ]);
  pool = openPool(hub.run.postgres, { max: 2 });
  const people = Array.from({ length: PATIENTS }, (_, person) => person);
  for (let from = 0; from < PATIENTS; from += AT_ONCE) await Promise.all(people.slice(from, from + AT_ONCE).map(send));
  const merge = `MSH|^~\\&|A|B|HUB|H|20240401||ADT^A40^ADT_A39|merge|P|2.5.1\rEVN|A40|20240401\rPID|1||${token(0, 'PID3')}^^^CANARY^MR||${token(0, 'PID5family')}^${token(0, 'PID5given')}||19840229|F\rMRG|${token(1, 'PID3')}^^^CANARY^MR`;
  expect(await post('/hl7', 'x-application/hl7-v2+er7', merge)).toBe(200);
  await untilCaughtUp(hub.run.http);
});
afterAll(async () => {
  await pool.end();
  await hub.stop();
  await remove();
});

/** Everything of one person, then what is refused, and what nobody can read. */
async function send(person: number): Promise<void> {
  const er7 = 'x-application/hl7-v2+er7';
  for (const message of messages(person)) expect(await post('/hl7', er7, message)).toBe(200);
  if (person === 0) expect(await post('/hl7', er7, otherSegments(person))).toBe(200);
  expect(await post('/fhir', 'application/fhir+json', JSON.stringify(bundle(person)))).toBe(200);
  await post('/events', 'application/json', JSON.stringify(event(person)));
  await post(
    '/events',
    'application/json',
    JSON.stringify({
      ...event(person),
      eventId: `refused-${person}`, // which its receipt repeats
      ts: token(person, 'ts'),
    }),
  );
  await post('/events', 'application/json', `{"eventId":"${token(person, 'broken')}`);
  await post('/fhir', 'application/fhir+json', `{"resourceType":"${token(person, 'type')}"}`);
  await post(`/fhir/${token(person, 'path')}`, 'application/fhir+json', '{}');
  await post('/hl7', er7, `MSH|^~\\&|${token(person, 'cut')}`);
  await post('/hl7', er7, messages(person)[0]?.replace('PID|1|', 'PID|1\u0000|') ?? '');
}

/** The command line, beside the hub that runs. */
async function anamnesis(config: string, ...args: string[]): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath,
    [path.join(ROOT, 'bin/anamnesis.js'), ...args, '--data', hub.dataDir, '--config', path.join(folder, config)],
    { cwd: folder, env: { ...process.env, NODE_OPTIONS: '' } },
  );
  return stdout + stderr;
}

/** All that analysts can read: every table of their schema, asked for after the graph has been asked for everything. */
async function analystsSchema(): Promise<string> {
  const rows =
    'nodes { id favoriteColor ageYears age90Plus sex zip3 race ethnicity encounters { nodes { class departmentType start lengthOfStayDays } } observations { nodes { date system code value unit valueSystem valueCode abnormal } } conditions { nodes { date system code group } } immunizations { nodes { date system code } } }';
  const answer = await graphql<object>(
    hub.run.http,
    `{ at { subjects(first: 1000) { ${rows} } population(by: [SEX, CONDITION_GROUP, ENCOUNTER_CLASS]) { cells { key { value } count } } } }`,
    {},
    '/graphql/analytics',
  );
  const { rows: tables } = await pool.query<{ name: string }>(
    `select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname in ('anonymized', 'anonymized_private') and c.relkind in ('r', 'v', 'm')`,
  );
  expect(tables.length).toBeGreaterThan(6);
  let text = JSON.stringify(answer);
  for (const { name } of tables) {
    const { rows: lines } = await pool.query<{ line: string }>(`select t::text as line from ${name} t`);
    text += lines.map(({ line }) => line).join('\n');
  }
  return text;
}

describe('no canary of any field of any message', () => {
  test('but the chart has them: the scan finds what is there', async () => {
    const { rows } = await pool.query<{ body: string }>(
      `select string_agg(body::text, ' ') as body from master.fact_v1`,
    );
    const body = rows[0]?.body ?? '';
    expect(hits(body)).toEqual([...NUMBERS.filter((number) => number !== '19840229'), expect.stringMatching(CANARY)]);
    // Of resources as well as of segments: of everything that the declaration takes a part of, and of what is beside it.
    for (const place of [
      'PID5family',
      'PV1',
      'family',
      'Encounterdiagnosis',
      'Observationmethod',
      'Conditionstage',
      'ImmunizationlotNumber',
    ])
      expect([place, body.includes(token(0, place))]).toEqual([place, true]);
  });

  test('is in the schema of the analysts, nor in what it is made from, before and after a rebuild; a leak is found', async () => {
    const before = await analystsSchema();
    expect(before).toContain('E11.9');
    expect(hits(before)).toEqual([]);
    await graphql(hub.run.http, 'mutation { rebuildProjection(name: "anonymized") { version } }');
    await until(
      () =>
        graphql<{ projections: { name: string; version: number }[] }>(hub.run.http, '{ projections { name version } }'),
      ({ projections }) => projections.some(({ name, version }) => name === 'anonymized' && version === 2),
    );
    expect(hits(await analystsSchema())).toEqual([]);
    await pool.query('create table anonymized.leak as select metadata::text from log.event limit 0');
    await pool.query(`insert into anonymized.leak values ('of ${token(3, 'PID5')}')`);
    expect(hits(await analystsSchema())).not.toEqual([]);
    await pool.query('drop table anonymized.leak');
  });

  test('is in what the hub prints, measures, traces, answers to mistakes, keeps of dead letters or writes into envelopes', async () => {
    expect(problems.length).toBeGreaterThan(3 * PATIENTS);
    expect(hits(problems.join('\n'))).toEqual([]);
    expect(hits(await (await fetch(`${hub.run.http}/metrics`)).text())).toEqual([]);
    expect(hits(hub.output())).toEqual([]);
    expect(hub.output().length).toBeGreaterThan(100);
    const spans = await readFile(path.join(folder, 'spans.ndjson'), 'utf8');
    expect(spans).toContain('batch');
    expect(hits(spans)).toEqual([]);
    const { deadLetters } = await graphql<{ deadLetters: { nodes: unknown[] } }>(
      hub.run.http,
      '{ deadLetters(first: 200) { nodes { code path status } } }',
    );
    expect(deadLetters.nodes.length).toBeGreaterThan(0);
    expect(hits(JSON.stringify(deadLetters))).toEqual([]);
    const { rows } = await pool.query<{ name: string }>(
      `select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'hub' and c.relkind = 'r'`,
    );
    for (const { name } of rows) {
      const { rows: lines } = await pool.query<{ line: string }>(`select t::text as line from ${name} t`);
      expect([name, hits(lines.map(({ line }) => line).join('\n'))]).toEqual([name, []]);
    }
    const { rows: envelopes } = await pool.query<{ metadata: string }>(
      `select convert_from(metadata, 'UTF8') as metadata from log.event`,
    );
    expect(hits(envelopes.map(({ metadata }) => metadata).join('\n'))).toEqual([]);
  });

  test('is in what the command line exports and reports', async () => {
    const to = path.join(folder, 'lake');
    const printed =
      (await anamnesis('hub.yaml', 'anonymized', 'report')) +
      (await anamnesis('hub.yaml', 'anonymized', 'export', '--to', to));
    expect(printed).toMatch(/smallest k of what is shown: \d\d/);
    expect(hits(printed)).toEqual([]);
    const duckdb = await (await DuckDBInstance.create(':memory:')).connect();
    let rows = 0;
    for (const table of await readdir(to)) {
      const read = await duckdb.runAndReadAll(
        `select * from read_parquet('${path.join(to, table)}/*/*.parquet', hive_partitioning = true)`,
      );
      const text = JSON.stringify(read.getRowObjectsJson());
      rows += read.currentRowCount;
      expect([table, hits(text)]).toEqual([table, []]);
      expect(hits(await readFile(path.join(to, table, '_delta_log', '00000000000000000000.json'), 'utf8'))).toEqual([]);
    }
    expect(rows).toBeGreaterThan(4 * PATIENTS);
    duckdb.closeSync();
  });

  test('but in what it exports of the chart, where that is permitted: every fact that the graph shows', async () => {
    await writeFile(path.join(folder, 'other.yaml'), '');
    const to = path.join(folder, 'clinical');
    await expect(anamnesis('other.yaml', 'clinical', 'export', '--to', to)).rejects.toThrow('exports.clinical: true');
    await anamnesis('hub.yaml', 'clinical', 'export', '--to', to);
    const duckdb = await (await DuckDBInstance.create(':memory:')).connect();
    const read = await duckdb.runAndReadAll(
      `select kind, fields, patient_id from read_parquet('${to}/facts/*/*.parquet') order by kind`,
    );
    const facts = read.getRowObjectsJson();
    expect(hits(JSON.stringify(facts))).not.toEqual([]);
    const { rows } = await pool.query<{ n: bigint }>(
      `select count(distinct (record, entity)) as n from master.fact_v1 where kind = 0`,
    );
    expect(BigInt(facts.filter(({ kind }) => kind === 'PATIENT').length)).toBe(rows[0]?.n);
    duckdb.closeSync();
  });
});
