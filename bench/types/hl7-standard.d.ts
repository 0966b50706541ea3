/** The part of `hl7-standard` that the bench uses; the package has no types of its own. */
declare module 'hl7-standard' {
  interface Segment {
    readonly data: Readonly<Record<string, unknown>>;
  }
  export default class HL7 {
    constructor(data: string);
    transform(): void;
    get(path: string): unknown;
    getSegments(name: string): readonly Segment[];
  }
}
