/** Reads differences between the answers of two builds: meant by a change of the rules, or a defect. */
import type { DeclaredChange, ProjectionDefinition } from '../projection.js';

/** A difference that a change of the rules explains, counted. */
export interface Explained {
  readonly version: number;
  readonly reason: string;
  /** `<KIND>.<field>`, with how many sampled answers differ in it. */
  readonly fields: Readonly<Record<string, number>>;
}

/** Shown for a version that declares nothing. */
export const UNDECLARED = 'this version does not declare what it changes';

export class DifferenceReading {
  private readonly explained = new Map<number, { reason: string; fields: Map<string, number> }>();
  private readonly changes: readonly DeclaredChange[];

  /**
   * @param from definition version of the build that serves
   * @param to of the new one; with the same version nothing may differ
   */
  constructor(definition: Pick<ProjectionDefinition, 'changes'>, from: number, to: number) {
    const versions = Array.from({ length: Math.max(0, to - from) }, (_, index) => from + index + 1);
    this.changes = versions.flatMap((version) => {
      const declared = (definition.changes ?? []).filter((change) => change.version === version);
      return declared.length > 0 ? declared : [{ version, fields: ['*'], reason: UNDECLARED }];
    });
  }

  /** @returns whether a change of the rules accounts for a difference in this field; if so it is counted as explained */
  accountsFor(kind: string, field: string): boolean {
    const change = this.changes.find(({ fields }) =>
      fields.some((name) => name === '*' || name === `${kind}.*` || name === `${kind}.${field}`),
    );
    if (change === undefined) return false;
    const entry = this.explained.get(change.version) ?? { reason: change.reason, fields: new Map<string, number>() };
    this.explained.set(change.version, entry);
    const name = `${kind}.${field}`;
    entry.fields.set(name, (entry.fields.get(name) ?? 0) + 1);
    return true;
  }

  /** What was explained so far. */
  report(): readonly Explained[] {
    return [...this.explained].map(([version, { reason, fields }]) => ({
      version,
      reason,
      fields: Object.fromEntries([...fields].sort(([left], [right]) => (left < right ? -1 : 1))),
    }));
  }
}
