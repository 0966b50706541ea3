/** `observation.recorded` → Observation; the members of `data` are described in schema/events/observation.recorded.json. */
import type { ClinicalEvent } from '../../inbound/events/clinical-event.js';
import { validTime } from '../../time/parse.js';
import type { ValidTime } from '../../time/valid-time.js';
import { putDateTime, type JsonObject } from '../fhir-time.js';
import type { Json } from '../fact.js';
import { codingSystem } from '../hl7v2/datatypes.js';
import { INTERPRETATION } from '../hl7v2/tables.js';
import type { EventReading } from './reading.js';

const MEMBERS = new Set([
  'id',
  'code',
  'system',
  'display',
  'value',
  'unit',
  'status',
  'effective',
  'category',
  'interpretation',
  'note',
]);

/** observation-status of FHIR R4. */
const STATUSES = new Set([
  'registered',
  'preliminary',
  'final',
  'amended',
  'corrected',
  'cancelled',
  'entered-in-error',
  'unknown',
]);

/**
 * Keyed by `id`, else by code and time. Valid from `effective`, else from `ts`. `status: entered-in-error` retracts it there.
 */
export function readObservation(event: ClinicalEvent, sent: ValidTime, reading: EventReading): void {
  const { data } = event;
  const { sourceRecordId } = reading.context;
  for (const member of Object.keys(data)) if (!MEMBERS.has(member)) reading.unmapped.add(`/data/${member}`);
  const text = (member: string): string => (typeof data[member] === 'string' ? data[member] : '');
  const code = text('code');
  const display = text('display');
  if (code === '' && display === '') {
    reading.unmapped.add('/data/code');
    return;
  }
  if (sourceRecordId === undefined) return;
  const observed = reading.time(data['effective'], '/data/effective');
  const valid = observed === undefined ? sent : validTime(observed, 'data.effective');
  const system = codingSystem(text('system'));
  const id = text('id');
  const thing = {
    kind: 'OBSERVATION' as const,
    sourceRecordId,
    key:
      id === ''
        ? `event|${code}^${text('system')}${code === '' ? `^${display}` : ''}|${valid.instant}`
        : `event|id|${id}`,
    valid,
  };
  const status = text('status');
  if (status === 'entered-in-error') {
    reading.facts.push({ ...thing, retract: '*' });
    return;
  }
  if (status !== '' && !STATUSES.has(status)) reading.unmapped.add('/data/status');
  const resource: JsonObject = {
    resourceType: 'Observation',
    status: STATUSES.has(status) ? status : status === '' ? 'final' : 'unknown',
  };
  const category = text('category');
  if (category !== '')
    resource['category'] = [
      { coding: [{ system: 'http://terminology.hl7.org/CodeSystem/observation-category', code: category }] },
    ];
  resource['code'] =
    code === ''
      ? { text: display }
      : { coding: [{ ...(system !== undefined && { system }), code, ...(display !== '' && { display }) }] };
  putDateTime(resource, 'effectiveDateTime', observed);
  if (observed === undefined && sent.field !== 'ARRIVAL')
    putDateTime(resource, 'effectiveDateTime', reading.time(event.ts, '/ts'));
  putValue(resource, data['value'], text('unit'), reading);
  const interpretation = text('interpretation');
  if (interpretation !== '') {
    const name = Object.hasOwn(INTERPRETATION, interpretation) ? INTERPRETATION[interpretation] : undefined;
    resource['interpretation'] = [
      name === undefined
        ? { text: interpretation }
        : {
            coding: [
              {
                system: 'http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation',
                code: interpretation,
                display: name,
              },
            ],
          },
    ];
  }
  const note = text('note');
  if (note !== '') resource['note'] = [{ text: note }];
  const moves = event.type === 'observation.corrected' && id !== '' && observed !== undefined;
  reading.facts.push({ ...thing, assert: { resource }, ...(moves && { moves: 'only' as const }) });
}

function putValue(resource: JsonObject, value: Json | undefined, unit: string, reading: EventReading): void {
  if (value === undefined || value === null) return;
  if (typeof value === 'number') resource['valueQuantity'] = { value, ...(unit !== '' && { unit }) };
  else if (typeof value === 'boolean') resource['valueBoolean'] = value;
  else if (typeof value === 'string') resource['valueString'] = value;
  else if (!Array.isArray(value) && typeof value['code'] === 'string') {
    const system = typeof value['system'] === 'string' ? codingSystem(value['system']) : undefined;
    const display = typeof value['display'] === 'string' ? value['display'] : '';
    resource['valueCodeableConcept'] = {
      coding: [{ ...(system !== undefined && { system }), code: value['code'], ...(display !== '' && { display }) }],
    };
  } else reading.unmapped.add('/data/value');
}
