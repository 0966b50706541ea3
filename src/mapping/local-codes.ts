/** Local codes of a source → LOINC, SNOMED CT, ICD-10 or any other system, by tables that are data of the source, never code. */
import { isObject, textOf } from './concepts.js';
import type { Fact, Json, Mapped } from './fact.js';
import type { JsonObject } from './fhir-time.js';
import { codingSystem } from './hl7v2/datatypes.js';

/** One line of a table. Systems are named as in HL7 table 0396 (`L`, `99LAB`, `LN`, `SCT`, `I10C`) or by URI; '' is a code that names none. */
export interface LocalCode {
  readonly system: string;
  readonly code: string;
  readonly toSystem: string;
  readonly toCode: string;
  readonly display?: string;
}

/** Tables of one version of a source, ready to be looked up in. */
export class LocalCodes {
  private readonly codings = new Map<string, JsonObject>();

  constructor(rows: Iterable<LocalCode>) {
    for (const { system, code, toSystem, toCode, display } of rows) {
      const coding: JsonObject = { system: codingSystem(toSystem) ?? toSystem, code: toCode };
      if (display !== undefined && display !== '') coding['display'] = display;
      this.codings.set(keyOf(codingSystem(system) ?? '', code), coding);
    }
  }

  /**
   * The same facts with the standard code in front of each local one that a table knows, in every CodeableConcept of them; the local code stays
   * beside it. Codes that no table knows stay alone. What the mapping made is not written to.
   */
  apply(mapped: Mapped): Mapped {
    if (this.codings.size === 0) return mapped;
    return { ...mapped, facts: mapped.facts.map((fact) => this.applyToFact(fact)) };
  }

  private applyToFact(fact: Fact): Fact {
    if (fact.assert === undefined) return fact;
    let changed: Record<string, Json> | undefined;
    for (const [slot, value] of Object.entries(fact.assert)) {
      const translated = this.translated(value);
      if (translated !== value) (changed ??= { ...fact.assert })[slot] = translated;
    }
    return changed === undefined ? fact : { ...fact, assert: changed };
  }

  private translated(value: Json): Json {
    if (Array.isArray(value)) {
      let changed: Json[] | undefined;
      for (let index = 0; index < value.length; index += 1) {
        const translated = this.translated(value[index]!);
        if (translated !== value[index]) (changed ??= [...value])[index] = translated;
      }
      return changed ?? value;
    }
    if (!isObject(value)) return value;
    let changed: JsonObject | undefined;
    for (const [member, inner] of Object.entries(value)) {
      const translated =
        member === 'coding' && Array.isArray(inner) ? this.withStandard(inner) : this.translated(inner);
      if (translated !== inner) (changed ??= { ...value })[member] = translated;
    }
    return changed ?? value;
  }

  private withStandard(codings: Json[]): Json[] {
    const found: JsonObject[] = [];
    for (const coding of codings) {
      const known = this.codings.get(keyOf(textOf(coding, 'system'), textOf(coding, 'code')));
      if (known === undefined || stands(known, codings) || stands(known, found)) continue;
      found.push(known);
    }
    return found.length === 0 ? codings : [...found, ...codings];
  }
}

function keyOf(system: string, code: string): string {
  return `${system}|${code}`;
}

function stands(coding: JsonObject, codings: readonly Json[]): boolean {
  return codings.some((one) => textOf(one, 'code') === coding['code'] && textOf(one, 'system') === coding['system']);
}
