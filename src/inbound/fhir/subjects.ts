/** Whom a FHIR resource or bundle is about. Only what stands in the text itself is looked at; who that person is, src/identity decides. */
import type { FhirResource } from '../../mapping/content.js';
import type { Json } from '../../mapping/fact.js';

/** One person that a resource or bundle is about. */
export interface FhirSubject {
  /** Every way in which the text refers to this person: `Patient/1`, `urn:uuid:…`, an absolute URL, `entry[3]#p1`, `Patient?identifier=…`. */
  readonly references: readonly string[];
  /** The Patient resource, where it stands inside (an entry or contained). */
  readonly patient?: FhirResource;
  /** Identifiers of a logical reference (`Reference.identifier`, FHIR R4 §2.3.0.2) or of a conditional one. */
  readonly identifiers: readonly { readonly system?: string; readonly value: string; readonly type?: string }[];
  /** The sender's own id for this person (`Patient/123`, or the reference as sent): what it will use next time. */
  readonly senderPatientId?: string;
}

export interface FhirSubjects {
  readonly subjects: readonly FhirSubject[];
  /** For each entry of a bundle the index of its subject; undefined where it is about nobody or about several. One element for a single resource. */
  readonly ofEntry: readonly (number | undefined)[];
  /** As given: references below it are the hub's own. */
  readonly base?: string;
}

/** How a resource came: it decides whether the id in it is the sender's (FHIR R4 §3.1.0.8: a create ignores the id in the body). */
export interface FhirArrival {
  readonly interaction: 'batch' | 'create' | 'update';
  readonly type?: string;
  readonly id?: string;
}

/**
 * Elements of R4 that say whom a resource is about. `patient`, `beneficiary`, `individual` and `candidate` always name a patient; the
 * others may name a group, a device or a place as well.
 */
const SUBJECT_ELEMENTS = ['subject', 'patient', 'beneficiary', 'individual', 'candidate', 'for'] as const;
const ALWAYS_A_PATIENT = new Set<string>(['patient', 'beneficiary', 'individual', 'candidate']);

type JsonObject = { readonly [name: string]: Json };

function asObject(value: Json | undefined): JsonObject | undefined {
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? value : undefined;
}

function asText(value: Json | undefined): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function asArray(value: Json | undefined): readonly Json[] {
  return Array.isArray(value) ? value : value === undefined || value === null ? [] : [value];
}

/** A resource, or undefined for anything else. */
export function asResource(value: Json | undefined): FhirResource | undefined {
  const object = asObject(value);
  return object !== undefined && typeof object['resourceType'] === 'string' ? (object as FhirResource) : undefined;
}

interface Entry {
  readonly index: number;
  readonly fullUrl?: string;
  readonly resource?: FhirResource;
  /** How the sender will refer to it next time. */
  readonly senderReference?: string;
}

/** Grows while references are resolved; two that turn out to mean one person share it. */
interface Growing {
  readonly references: Set<string>;
  patient?: FhirResource;
  identifiers: { system?: string; value: string; type?: string }[];
  senderPatientId?: string;
}

/**
 * Finds the people of a single resource or of a bundle. References are resolved inside the bundle by fullUrl (absolute and `urn:uuid:`),
 * by `Type/id`, also where the fullUrl is absolute (FHIR R4 §2.36.4.1), and to contained resources (`#id`).
 * A reference to a Patient that is not inside makes a subject known by that reference alone.
 * @param base address of the hub's own FHIR endpoint: what lies below it is as if it were relative (FHIR R4 §2.3.0.1)
 */
export function subjectsOf(resource: FhirResource, arrival: FhirArrival, base?: string): FhirSubjects {
  const found = new Finder(base);
  if (resource.resourceType !== 'Bundle') {
    const updated = arrival.interaction === 'update' && arrival.id !== undefined;
    found.add({
      index: 0,
      resource,
      ...(updated ? { senderReference: `${resource.resourceType}/${arrival.id}` } : {}),
    });
    return found.resolve(false);
  }
  asArray(resource['entry']).forEach((value, index) => found.add(entryOf(value, index)));
  return found.resolve(true);
}

function entryOf(value: Json, index: number): Entry {
  const object = asObject(value);
  const resource = asResource(object?.['resource']);
  const fullUrl = asText(object?.['fullUrl']);
  const request = asObject(object?.['request']);
  let senderReference: string | undefined;
  if (request === undefined) {
    // Without a request the id may be that of any server; a fullUrl that is absolute says whose it is.
    if (resource?.resourceType === 'Patient' && /^(https?:|urn:)/.test(fullUrl ?? '')) senderReference = fullUrl;
  } else if (request['method'] === 'PUT' || request['method'] === 'PATCH') {
    senderReference = /(?:^|\/)([A-Za-z]+\/[A-Za-z0-9\-.]{1,64})$/.exec(asText(request['url']) ?? '')?.[1];
  }
  return {
    index,
    ...(fullUrl === undefined ? {} : { fullUrl }),
    ...(resource === undefined ? {} : { resource }),
    ...(senderReference === undefined ? {} : { senderReference }),
  };
}

/** A reference below the hub's own address is the relative one. */
export function localReference(text: string, base: string | undefined): string {
  return base !== undefined && text.startsWith(`${base}/`) ? text.slice(base.length + 1) : text;
}

/** Letters of a UUID mean the same in either case (RFC 9562 §4); nothing else that a reference holds does. */
function keyOf(reference: string): string {
  return /^urn:uuid:/i.test(reference) ? reference.toLowerCase() : reference;
}

/** By reference; of several under one the first. */
class ByReference<T> {
  private readonly found = new Map<string, T>();

  get(reference: string): T | undefined {
    return this.found.get(keyOf(reference));
  }

  add(reference: string, value: T): void {
    const key = keyOf(reference);
    if (!this.found.has(key)) this.found.set(key, value);
  }
}

class Finder {
  private readonly entries: Entry[] = [];
  private readonly entryByReference = new ByReference<Entry>();
  private readonly subjects: Growing[] = [];
  private readonly subjectByReference = new ByReference<Growing>();

  constructor(private readonly base: string | undefined) {}

  add(entry: Entry): void {
    this.entries.push(entry);
    const { fullUrl, resource } = entry;
    if (fullUrl !== undefined) this.entryByReference.add(fullUrl, entry);
    const id = asText(resource?.['id']);
    if (resource === undefined || id === undefined) return;
    this.entryByReference.add(`${resource.resourceType}/${id}`, entry);
  }

  resolve(inBundle: boolean): FhirSubjects {
    for (const entry of this.entries)
      if (entry.resource?.resourceType === 'Patient') this.patientEntry(entry, inBundle);
    const ofEntry = this.entries.map((entry) => {
      const subject = this.subjectOfEntry(entry, inBundle);
      return subject === undefined ? undefined : this.subjects.indexOf(subject);
    });
    return {
      subjects: this.subjects.map((subject) => ({
        references: [...subject.references],
        identifiers: subject.identifiers,
        ...(subject.patient === undefined ? {} : { patient: subject.patient }),
        ...(subject.senderPatientId === undefined ? {} : { senderPatientId: subject.senderPatientId }),
      })),
      ofEntry,
      ...(this.base === undefined ? {} : { base: this.base }),
    };
  }

  private named(references: readonly string[]): Growing {
    const known = references
      .map((reference) => this.subjectByReference.get(reference))
      .find((subject) => subject !== undefined);
    const subject = known ?? { references: new Set<string>(), identifiers: [] };
    if (known === undefined) this.subjects.push(subject);
    for (const reference of references) {
      this.alias(subject, reference);
    }
    return subject;
  }

  private patientEntry(entry: Entry, inBundle: boolean): Growing {
    const id = asText(entry.resource?.['id']);
    const { fullUrl } = entry;
    const references = [
      ...(inBundle ? [`entry[${entry.index}]`] : []),
      ...(fullUrl === undefined ? [] : [fullUrl, localReference(fullUrl, this.base)]),
      ...(id === undefined ? [] : [`Patient/${id}`]),
      ...(entry.senderReference === undefined ? [] : [entry.senderReference]),
    ];
    const subject = this.named(references.length === 0 ? ['Patient'] : references);
    if (entry.resource !== undefined) subject.patient ??= entry.resource;
    if (entry.senderReference !== undefined)
      subject.senderPatientId ??= localReference(entry.senderReference, this.base);
    return subject;
  }

  /** The one subject of an entry; undefined where it has none or several. */
  private subjectOfEntry(entry: Entry, inBundle: boolean): Growing | undefined {
    const { resource } = entry;
    if (resource === undefined) return undefined;
    if (resource.resourceType === 'Patient') return this.patientEntry(entry, inBundle);
    const several = new Set<Growing>();
    for (const element of SUBJECT_ELEMENTS) {
      for (const value of asArray(resource[element])) {
        const reference = asObject(value);
        const subject =
          reference === undefined ? undefined : this.refer(reference, entry, inBundle, ALWAYS_A_PATIENT.has(element));
        if (subject !== undefined) several.add(subject);
      }
    }
    if (resource.resourceType === 'Appointment' || resource.resourceType === 'AppointmentResponse') {
      for (const participant of [...asArray(resource['participant']), resource as Json]) {
        const actor = asObject(asObject(participant)?.['actor']);
        const subject = actor === undefined ? undefined : this.refer(actor, entry, inBundle, false);
        if (subject !== undefined) several.add(subject);
      }
    }
    const [only] = several;
    return several.size === 1 ? only : undefined;
  }

  private refer(reference: JsonObject, entry: Entry, inBundle: boolean, surelyPatient: boolean): Growing | undefined {
    const text = asText(reference['reference']);
    const type = asText(reference['type']);
    if (text === undefined) return this.logical(reference, type, surelyPatient);
    if (text.startsWith('#')) return this.contained(text, entry, inBundle);
    const sent = text.replace(/\/_history\/[^/]+$/, '');
    const unversioned = localReference(sent, this.base);
    const inside = this.find(sent, entry) ?? (sent === unversioned ? undefined : this.find(unversioned, entry));
    if (inside !== undefined) {
      if (inside.resource?.resourceType !== 'Patient') return undefined;
      const subject = this.patientEntry(inside, inBundle);
      this.alias(subject, text);
      return subject;
    }
    const conditional = /^Patient\?(?:.*&)?identifier=([^&]+)/.exec(text);
    if (conditional !== null) return this.conditional(text, conditional[1] as string);
    if (!this.namesPatient(unversioned, type, surelyPatient)) return undefined;
    const subject = this.named([unversioned]);
    this.alias(subject, text);
    subject.senderPatientId ??= unversioned;
    return subject;
  }

  /** FHIR R4 §2.36.4.1: a relative reference is looked up beside the fullUrl of the entry it stands in, then by type and id. */
  private find(text: string, entry: Entry): Entry | undefined {
    const direct = this.entryByReference.get(text);
    if (direct !== undefined) return direct;
    const base = /^(https?:\/\/.*?\/)[A-Za-z]+\/[A-Za-z0-9\-.]{1,64}$/.exec(entry.fullUrl ?? '')?.[1];
    const absolute = base === undefined ? undefined : this.entryByReference.get(base + text);
    if (absolute !== undefined) return absolute;
    // A sender may write `Patient/<uuid>` for an entry that says `urn:uuid:<uuid>`, and the reverse.
    const uuid = /^(?:urn:uuid:|Patient\/)([0-9a-fA-F-]{36})$/.exec(text)?.[1];
    if (uuid === undefined) return undefined;
    return this.entryByReference.get(`urn:uuid:${uuid}`) ?? this.entryByReference.get(`Patient/${uuid}`);
  }

  private alias(subject: Growing, text: string): void {
    subject.references.add(text);
    this.subjectByReference.add(text, subject);
  }

  private namesPatient(text: string, type: string | undefined, surelyPatient: boolean): boolean {
    if (type !== undefined) return type === 'Patient';
    if (/^urn:(uuid|oid):/i.test(text)) return true;
    const named = /(?:^|\/)([A-Z][A-Za-z]+)\/[A-Za-z0-9\-.]{1,64}$/.exec(text)?.[1];
    return named === undefined ? surelyPatient : named === 'Patient';
  }

  private contained(text: string, entry: Entry, inBundle: boolean): Growing | undefined {
    const id = text.slice(1);
    const resource = asArray(entry.resource?.['contained'])
      .map(asResource)
      .find((candidate) => candidate?.['id'] === id);
    if (resource?.resourceType !== 'Patient') return undefined;
    const subject = this.named([inBundle ? `entry[${entry.index}]${text}` : text]);
    subject.patient ??= resource;
    return subject;
  }

  private logical(reference: JsonObject, type: string | undefined, surelyPatient: boolean): Growing | undefined {
    if (type !== undefined ? type !== 'Patient' : !surelyPatient && reference['identifier'] === undefined)
      return undefined;
    const identifier = asObject(reference['identifier']);
    const value = asText(identifier?.['value']);
    if (value === undefined) return undefined;
    return this.byIdentifier(asText(identifier?.['system']), value, identifierType(identifier));
  }

  private conditional(text: string, query: string): Growing | undefined {
    let decoded: string;
    try {
      decoded = decodeURIComponent(query);
    } catch {
      decoded = query;
    }
    const bar = decoded.indexOf('|');
    const value = decoded.slice(bar + 1);
    if (value === '') return undefined;
    const subject = this.byIdentifier(bar > 0 ? decoded.slice(0, bar) : undefined, value, undefined);
    this.alias(subject, text);
    return subject;
  }

  /** A Patient inside with that identifier is meant, else somebody known by the identifier alone. */
  private byIdentifier(system: string | undefined, value: string, type: string | undefined): Growing {
    const key = `Patient?identifier=${system ?? ''}|${value}`;
    const inside = this.subjects.find((subject) =>
      asArray(subject.patient?.['identifier']).some((entry) => {
        const identifier = asObject(entry);
        return identifier?.['value'] === value && (system === undefined || identifier['system'] === system);
      }),
    );
    if (inside !== undefined) {
      this.alias(inside, key);
      return inside;
    }
    const subject = this.named([key]);
    if (subject.identifiers.length === 0) {
      subject.identifiers.push({
        value,
        ...(system === undefined ? {} : { system }),
        ...(type === undefined ? {} : { type }),
      });
    }
    return subject;
  }
}

/** Code of `Identifier.type` in HL7 table 0203 (`MR`, `SS`, …). */
export function identifierType(identifier: JsonObject | undefined): string | undefined {
  for (const coding of asArray(asObject(identifier?.['type'])?.['coding'])) {
    const code = asText(asObject(coding)?.['code']);
    if (code !== undefined) return code;
  }
  return undefined;
}
