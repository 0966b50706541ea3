/** One segment, read when asked: a segment nobody asks about is never decoded or split. */
import type { Charset } from './charset.js';
import { unescapeText } from './escapes.js';
import type { Hl7Segment, Hl7Separators } from './message.js';

/** HL7 v2.9 §2.5.3: two quotes say "delete what you have". */
const NULL = '""';

/** A component as sent, or its subcomponents once somebody asked for them. */
type Component = string | string[];

export class LazySegment implements Hl7Segment {
  private fields: string[] | undefined;
  /** Per field: repetitions, each a list of components. Filled when asked. */
  private tree: Component[][][] | undefined;

  constructor(
    readonly name: string,
    readonly index: number,
    readonly byteOffset: number,
    private readonly separators: Hl7Separators,
    private readonly charset: Charset,
    private readonly source: () => string,
  ) {}

  get fieldCount(): number {
    return this.split().length - (this.isHeader() ? 0 : 1);
  }

  repetitions(field: number): number {
    const parsed = this.parsed(field);
    let count = parsed.length;
    while (count > 0 && parsed[count - 1]!.every((component) => this.isBlank(component))) count -= 1;
    return count;
  }

  components(field: number, repetition = 1): number {
    const parsed = this.parsed(field)[repetition - 1] ?? [];
    let count = parsed.length;
    while (count > 0 && this.isBlank(parsed[count - 1]!)) count -= 1;
    return count;
  }

  subcomponents(field: number, repetition: number, component: number): number {
    const parts = this.parts(field, repetition, component);
    let count = parts.length;
    while (count > 0 && parts[count - 1] === '') count -= 1;
    return count;
  }

  value(field: number, repetition = 1, component = 1, subcomponent = 1): string | null | undefined {
    if (field <= 2 && this.isHeader()) {
      const raw = repetition === 1 && component === 1 && subcomponent === 1 ? this.rawField(field) : '';
      return raw === '' ? undefined : raw;
    }
    const found = this.parsed(field)[repetition - 1]?.[component - 1];
    if (found === undefined) return undefined;
    let raw: string | undefined;
    if (typeof found === 'string' && !this.hasSubcomponents(found)) raw = subcomponent === 1 ? found : undefined;
    else raw = this.parts(field, repetition, component)[subcomponent - 1];
    if (raw === undefined || raw === '') return undefined;
    if (raw === NULL) return null;
    return unescapeText(raw, this.separators, this.charset);
  }

  text(field: number, repetition = 1, component = 1, subcomponent = 1): string {
    return this.value(field, repetition, component, subcomponent) ?? '';
  }

  rawField(field: number): string {
    if (!Number.isInteger(field) || field < 1) return '';
    const fields = this.split();
    if (!this.isHeader()) return fields[field] ?? '';
    if (field === 1) return fields.length > 1 ? this.separators.field : '';
    return fields[field - 1] ?? '';
  }

  isNull(field: number): boolean {
    return this.rawField(field) === NULL;
  }

  /** MSH, FHS and BHS: their first field is the field separator itself, their second holds the other delimiters. */
  private isHeader(): boolean {
    return this.name === 'MSH' || this.name === 'FHS' || this.name === 'BHS';
  }

  private split(): string[] {
    return (this.fields ??= this.source().split(this.separators.field));
  }

  private parsed(field: number): Component[][] {
    this.tree ??= [];
    let parsed = this.tree[field];
    if (parsed === undefined) {
      const raw = this.rawField(field);
      if (raw === '') return [];
      const { repetition, component } = this.separators;
      if (field <= 2 && this.isHeader()) parsed = [[[raw]]];
      else {
        const repetitions = repetition !== '' && raw.includes(repetition) ? raw.split(repetition) : [raw];
        parsed = repetitions.map((one) => (component !== '' && one.includes(component) ? one.split(component) : [one]));
      }
      this.tree[field] = parsed;
    }
    return parsed;
  }

  private parts(field: number, repetition: number, component: number): string[] {
    const components = this.parsed(field)[repetition - 1];
    const found = components?.[component - 1];
    if (components === undefined || found === undefined) return [];
    if (typeof found !== 'string') return found;
    const parts = this.hasSubcomponents(found) ? found.split(this.separators.subcomponent) : [found];
    components[component - 1] = parts;
    return parts;
  }

  private hasSubcomponents(component: string): boolean {
    return this.separators.subcomponent !== '' && component.includes(this.separators.subcomponent);
  }

  private isBlank(component: Component): boolean {
    if (typeof component !== 'string') return component.every((part) => part === '');
    if (component === '') return true;
    if (!this.hasSubcomponents(component)) return false;
    for (let index = 0; index < component.length; index += 1) {
      if (component[index] !== this.separators.subcomponent) return false;
    }
    return true;
  }
}
