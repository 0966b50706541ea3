/**
 * People and organisations that a resource refers to. A slot holds them as a logical reference (name and number) with what else was said of them beside it;
 * R4 has no place for that in a reference, so here it becomes contained resources: somebody who acts for an organisation, at a place, for a time is a
 * PractitionerRole, who has an address of their own a Practitioner, an organisation with an address or a telephone an Organization (maps ORC[ServiceRequest],
 * ORC-12 and ORC-21 to -24; OBX[Observation], OBX-23 and OBX-24; IN1[Coverage], IN1-4 and IN1-5; ROL[Encounter-PractitionerRole]).
 */
import { isObject, textOf } from './concepts.js';
import type { Json } from './fact.js';
import type { JsonObject } from './fhir-time.js';

/** Members that make a reference one to a role. */
const ROLE_MEMBERS = ['organization', 'location', 'telecom', 'period'] as const;
/** Members that a contained Organization takes over; it is told apart by `type: 'Organization'`. */
const ORGANIZATION_MEMBERS = ['address', 'telecom', 'contact'] as const;

/**
 * Replaces the references of an element by what they say.
 * @param path of the element: `requester`, `performer.actor`, `dispenseRequest.performer`; a list is gone through wherever it stands
 */
export function placeContained(resource: JsonObject, path: string): void {
  const steps = path.split('.');
  const stated = resource[steps[0]!];
  if (stated === undefined) return;
  const placing = new Placing(steps.at(-1) === 'actor' || steps.at(-1) === 'individual' ? steps[0]! : steps.at(-1)!);
  const placed = placing.at(stated, steps.slice(1));
  if (placing.contained.length === 0 && placed === stated) return;
  resource[steps[0]!] = placed;
  if (placing.contained.length === 0) return;
  const before = Array.isArray(resource['contained']) ? resource['contained'] : [];
  resource['contained'] = [...before, ...placing.contained];
}

class Placing {
  readonly contained: JsonObject[] = [];

  constructor(private readonly name: string) {}

  /** The value itself where nothing in it is to be placed. */
  at(value: Json, steps: readonly string[]): Json {
    if (Array.isArray(value)) {
      const placed = value.map((one) => this.at(one, steps));
      return placed.every((one, index) => one === value[index]) ? value : placed;
    }
    if (!isObject(value)) return value;
    const [step, ...further] = steps;
    if (step === undefined) return this.reference(value);
    const inner = value[step];
    const placed = inner === undefined ? inner : this.at(inner, further);
    return placed === inner ? value : { ...value, [step]: placed! };
  }

  private reference(value: JsonObject): JsonObject {
    if (value['type'] === 'Organization') return this.organization(value);
    const acts = ROLE_MEMBERS.some((name) => name in value);
    if (!acts) return this.practitioner(value);
    const { organization, location, telecom, period, ...person } = value;
    const named = Object.keys(person).length > 0;
    const employer = isObject(organization) ? this.organization(organization) : undefined;
    if (!named && employer !== undefined && location === undefined && telecom === undefined) return employer;
    const practitioner = named ? this.practitioner(person) : undefined;
    const display = textOf(person, 'display') || textOf(organization, 'display');
    return this.contain(display, {
      resourceType: 'PractitionerRole',
      ...(practitioner && { practitioner }),
      ...(employer && { organization: employer }),
      ...(location !== undefined && { location: [location] }),
      ...(telecom !== undefined && { telecom }),
      ...(period !== undefined && { period }),
    });
  }

  private practitioner(person: JsonObject): JsonObject {
    const { address, identifier, display } = person;
    if (address === undefined) return person;
    return this.contain(textOf(person, 'display'), {
      resourceType: 'Practitioner',
      ...(identifier !== undefined && { identifier: [identifier] }),
      ...(display !== undefined && { name: [{ text: display }] }),
      address,
    });
  }

  private organization(one: JsonObject): JsonObject {
    if (!ORGANIZATION_MEMBERS.some((name) => name in one)) return one;
    const { identifier, display } = one;
    const details = Object.fromEntries(
      ORGANIZATION_MEMBERS.flatMap((name) => (name in one ? [[name, one[name]!]] : [])),
    );
    return this.contain(textOf(one, 'display'), {
      resourceType: 'Organization',
      ...(identifier !== undefined && { identifier: [identifier] }),
      ...(display !== undefined && { name: display }),
      ...details,
    });
  }

  private contain(display: string, resource: JsonObject): JsonObject {
    const id = this.contained.length === 0 ? this.name : `${this.name}-${this.contained.length + 1}`;
    const { resourceType, ...content } = resource;
    this.contained.push({ resourceType: resourceType!, id, ...content });
    return { reference: `#${id}`, ...(display !== '' && { display }) };
  }
}
