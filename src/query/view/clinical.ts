/** What encounters, observations and the others show out of their slots. */
import { encounterFields } from '../../mapping/assemble.js';
import type { FactKind, Json } from '../../mapping/fact.js';
import { locationDisplay, locationParts } from '../../mapping/locations.js';
import { summarise } from '../../mapping/summarise.js';
import { listOf, textOf } from './json.js';
import type { Values } from './resource.js';

export interface EncounterView {
  readonly status: string | null;
  readonly class: string | null;
  readonly location: string | null;
  readonly start: string | null;
  readonly end: string | null;
}

/** Statuses of an encounter under way (FHIR R4 encounter-status). */
const UNDER_WAY: ReadonlySet<string> = new Set(['arrived', 'triaged', 'in-progress', 'onleave']);

export function encounterView(values: Values): EncounterView {
  const { status, class: code, location, start, end } = summarise('ENCOUNTER', values);
  return {
    status: status ?? null,
    class: code ?? null,
    location: location ?? null,
    start: start ?? null,
    end: end ?? null,
  };
}

export function isUnderWay(values: Values): boolean {
  return UNDER_WAY.has(textOf(encounterFields(values)['status']) ?? '');
}

export interface PlaceView {
  readonly display: string;
  /** PL.1, else the whole. */
  readonly pointOfCare: string;
  /** Point of care, room, bed, facility as sent, and the whole. */
  readonly names: readonly string[];
}

/** Where an encounter is. */
export function locationOf(values: Values): PlaceView | undefined {
  for (const entry of listOf(encounterFields(values)['location'])) {
    const display = locationDisplay(entry);
    if (display === '') continue;
    const { pointOfCare, room, bed, facility } = locationParts(entry);
    const parts = [pointOfCare, room, bed, facility].filter((part) => part !== undefined);
    return { display, pointOfCare: pointOfCare ?? display, names: [...new Set([...parts, display])] };
  }
  return undefined;
}

export interface ObservationView {
  readonly code: string | null;
  readonly display: string | null;
  readonly status: string | null;
  readonly value: Json;
  readonly unit: string | null;
  readonly effective: string | null;
}

export function observationView(values: Values): ObservationView {
  const { code, display, status, value, unit, effective } = summarise('OBSERVATION', values);
  return {
    code: code ?? null,
    display: display ?? null,
    status: status ?? null,
    value: value ?? null,
    unit: unit ?? null,
    effective: effective ?? null,
  };
}

export interface CodedView {
  readonly code: string | null;
  readonly display: string | null;
}

export function codedView(kind: FactKind, values: Values): CodedView {
  const { code, display } = summarise(kind, values);
  return { code: code ?? null, display: display ?? null };
}

/**
 * Group of a diagnosis: the three-character category of an ICD-10 code (ICD-10, volume 2, §3.1), else the code, else what it is called.
 */
export function diagnosisGroup(values: Values): string | null {
  const { code, display } = codedView('CONDITION', values);
  if (code === null) return display;
  return /^[A-Z]\d[0-9A-Z](?:\.|$|[0-9A-Z])/.test(code) ? code.slice(0, 3) : code;
}

function elementsOf(fields: readonly string[]): string {
  return [...new Set(fields.map((field) => field.split(':', 1)[0]))].join(', ');
}

/** One line for the timeline: what a thing became at one valid time. */
export function titleOf(kind: FactKind, before: Values, after: Values, fields: readonly string[]): string {
  const isNew = Object.keys(before).length === 0;
  if (Object.keys(after).length === 0) return `${summarise(kind, before).title} (ended)`;
  if (isNew) return kind === 'PATIENT' ? 'Registered' : summarise(kind, after).title;
  if (kind === 'PATIENT') return `Changed: ${elementsOf(fields)}`;
  if (kind !== 'ENCOUNTER') return summarise(kind, after).title;
  const [was, now] = [encounterView(before), encounterView(after)];
  if (was.status !== now.status) return summarise(kind, after).title;
  if (was.location !== now.location)
    return now.location === null ? 'Encounter: left its place' : `Moved to ${now.location}`;
  return `Encounter changed: ${elementsOf(fields)}`;
}
