/** One segment, read when asked: a segment nobody asks about is never decoded or split. */
import type { Charset } from './charset.js';
import { unescapeText } from './escapes.js';
import type { Hl7Segment, Hl7Separators } from './message.js';

/** HL7 v2.9 §2.5.3: two quotes say "delete what you have". */
const NULL = '""';

/** A field so short is searched anew for each piece: quicker than keeping the pieces, and still bounded. */
const SHORT_FIELD = 256;

/** The piece of a text between two delimiters, counted from 1. */
function piece(text: string, delimiter: string, number: number): string | undefined {
  if (delimiter === '') return number === 1 ? text : undefined;
  let from = 0;
  for (let skipped = 1; skipped < number; skipped += 1) {
    const next = text.indexOf(delimiter, from);
    if (next < 0) return undefined;
    from = next + 1;
  }
  const end = text.indexOf(delimiter, from);
  return end < 0 ? (from === 0 ? text : text.slice(from)) : text.slice(from, end);
}

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
    private readonly byteEnd: number,
    private readonly separators: Hl7Separators,
    private readonly charset: Charset,
    /** The whole message: its text where one byte is one character of it, else its bytes. */
    private readonly source: string | Buffer,
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
    const sent = this.rawField(field);
    if (sent === '') return undefined;
    const raw =
      sent.length <= SHORT_FIELD
        ? this.find(sent, repetition, component, subcomponent)
        : this.parts(field, repetition, component)[subcomponent - 1];
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
    if (this.fields === undefined) {
      const { source, byteOffset, byteEnd } = this;
      const line =
        typeof source === 'string'
          ? source.slice(byteOffset, byteEnd)
          : this.charset.decode(source.subarray(byteOffset, byteEnd));
      this.fields = line.split(this.separators.field);
    }
    return this.fields;
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
        const components = (one: string): Component[] =>
          component !== '' && one.includes(component) ? one.split(component) : [one];
        parsed =
          repetition !== '' && raw.includes(repetition) ? raw.split(repetition).map(components) : [components(raw)];
      }
      this.tree[field] = parsed;
    }
    return parsed;
  }

  /** One piece of a short field by looking for the delimiters, without keeping the pieces. */
  private find(sent: string, repetition: number, component: number, subcomponent: number): string | undefined {
    const { separators } = this;
    let one: string | undefined = piece(sent, separators.repetition, repetition);
    if (one !== undefined) one = piece(one, separators.component, component);
    return one === undefined ? undefined : piece(one, separators.subcomponent, subcomponent);
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
