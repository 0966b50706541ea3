/**
 * Segments of a message in the groups of its structure (`structures.ts`). A segment belongs to the innermost open group that has it, or that has a
 * group beginning with it; so missing, misplaced, repeated and Z segments cost nothing but their own place. Linear time, never throws.
 */
import type { Hl7Message, Hl7Segment } from './message.js';
import { grammarOf, type Grammar, type GrammarPart } from './structures.js';

/** An instance of a group. */
export interface Hl7Group {
  /** As the standard calls it: `ORDER_OBSERVATION`; of the whole message the structure: `ORU_R01`. */
  readonly name: string;
  /** Its own segments and groups, in the order of the message; what the structure does not know stands where it was sent. */
  readonly content: readonly (Hl7Segment | Hl7Group)[];
  /** First segment of that name of its own, or in a group of it that cannot repeat. */
  segment(name: string): Hl7Segment | undefined;
  /** Groups of that name directly in it, or in a group of it that cannot repeat. */
  groups(name: string): readonly Hl7Group[];
  /** Every segment in it and in its groups, in the order of the message. */
  segments(): readonly Hl7Segment[];
}

export interface Hl7Structure {
  readonly root: Hl7Group;
  /** Segments that stand at another place than the structure has them, but whose group is clear: a PV1 behind the orders. */
  readonly misplaced: readonly Hl7Segment[];
  /** Segments that the structure does not have, Z segments among them, and such as are there too often. */
  readonly extra: readonly Hl7Segment[];
}

class Group implements Hl7Group {
  readonly content: (Hl7Segment | Group)[] = [];
  /** Segments of its own that may stand here once, and did. */
  private readonly taken = new Set<string>();
  private readonly last = new Map<Grammar, Group>();
  /** Place of the furthest opener so far: another one at or before it begins the next instance. */
  private opened = -1;
  /** Place of the part that came last. */
  private reached = -1;
  private sorted: readonly Hl7Segment[] | undefined;

  constructor(
    readonly grammar: Grammar,
    private readonly depth: number,
  ) {}

  get name(): string {
    return this.grammar.name;
  }

  segment(name: string): Hl7Segment | undefined {
    for (const part of this.content) if (!(part instanceof Group) && part.name === name) return part;
    for (const part of this.content) {
      if (!(part instanceof Group) || part.grammar.repeats) continue;
      const found = part.segment(name);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  groups(name: string): readonly Hl7Group[] {
    const found: Hl7Group[] = [];
    for (const part of this.content) {
      if (!(part instanceof Group)) continue;
      if (part.name === name) found.push(part);
      else if (!part.grammar.repeats) found.push(...part.groups(name));
    }
    return found;
  }

  segments(): readonly Hl7Segment[] {
    if (this.sorted === undefined) {
      const all: Hl7Segment[] = [];
      this.collect(all);
      // Only a misplaced segment is out of order.
      if (all.some((segment, at) => at > 0 && segment.index < all[at - 1]!.index))
        all.sort((a, b) => a.index - b.index);
      this.sorted = all;
    }
    return this.sorted;
  }

  private collect(all: Hl7Segment[]): void {
    for (const part of this.content) {
      if (part instanceof Group) part.collect(all);
      else all.push(part);
    }
  }

  /** Takes a segment of its own. */
  accept(segment: Hl7Segment, part: GrammarPart | undefined): void {
    this.content.push(segment);
    if (part === undefined) return;
    if (!part.repeats) this.taken.add(segment.name);
    this.note(segment.name, part.index);
  }

  /** Begins a group in it, down to the group that has the segment itself; gives the innermost. */
  open(part: GrammarPart & { readonly group: Grammar }, segment: Hl7Segment, stack: Group[]): void {
    const group = new Group(part.group, this.depth + 1);
    this.content.push(group);
    this.last.set(part.group, group);
    this.note(segment.name, part.index);
    stack.push(group);
    const own = part.group.segments.get(segment.name);
    const inner = part.group.groups.find((one) => one.group.openers.has(segment.name));
    if (own === undefined || (inner !== undefined && inner.index < own.index)) group.open(inner!, segment, stack);
    else group.accept(segment, own);
  }

  /** Whether an opener that is that part would begin another instance of this group. */
  beginsNext(name: string, { index, repeats }: GrammarPart): boolean {
    if (!this.grammar.repeats || !this.grammar.openers.has(name)) return false;
    return index < this.opened || (index === this.opened && !repeats);
  }

  holds(name: string): boolean {
    return this.taken.has(name);
  }

  isBehind(index: number): boolean {
    return index >= this.reached;
  }

  instanceOf(grammar: Grammar): Group | undefined {
    return this.last.get(grammar);
  }

  private note(name: string, index: number): void {
    if (index > this.reached) this.reached = index;
    if (this.grammar.openers.has(name) && index > this.opened) this.opened = index;
  }
}

/** Segments that belong to what stands directly before them: elsewhere they are nobody's. */
const FOLLOWERS = new Set(['NTE', 'PRT', 'ROL', 'OBX', 'TQ1', 'TQ2', 'RXR', 'RXC', 'CTD', 'TCD', 'CTI', 'DSC']);

const structures = new WeakMap<Hl7Message, Hl7Structure>();

/**
 * Groups of a message by MSH-9 (its trigger event by EVN-1 where MSH-9.2 is empty); undefined for a type whose structure is not known. Found once
 * for each message.
 */
export function structureOf(message: Hl7Message): Hl7Structure | undefined {
  let structure = structures.get(message);
  if (structure === undefined) {
    const trigger = message.triggerEvent === '' ? (message.segment('EVN')?.text(1) ?? '') : message.triggerEvent;
    const grammar = grammarOf(message.messageCode, trigger);
    if (grammar === undefined) return undefined;
    structure = structureBy(grammar, message.segments);
    structures.set(message, structure);
  }
  return structure;
}

/** The same by a structure given. */
export function structureBy(grammar: Grammar, segments: readonly Hl7Segment[]): Hl7Structure {
  const root = new Group(grammar, 0);
  const misplaced: Hl7Segment[] = [];
  const extra: Hl7Segment[] = [];
  const stack: Group[] = [root];
  for (const segment of segments) {
    if (place(segment, stack, misplaced)) continue;
    // Nobody's: it stays where it was sent.
    stack.at(-1)!.accept(segment, undefined);
    extra.push(segment);
  }
  return { root, misplaced, extra };
}

function place(segment: Hl7Segment, stack: Group[], misplaced: Hl7Segment[]): boolean {
  const { name } = segment;
  for (let depth = stack.length - 1; depth >= 0; depth -= 1) {
    const group = stack[depth]!;
    const own = group.grammar.segments.get(name);
    if (own !== undefined && !group.beginsNext(name, own) && (own.repeats || !group.holds(name))) {
      if (!group.isBehind(own.index)) misplaced.push(segment);
      stack.length = depth + 1;
      group.accept(segment, own);
      return true;
    }
    const inner = groupToOpen(group, name);
    if (inner !== undefined) {
      if (!group.isBehind(inner.index)) misplaced.push(segment);
      stack.length = depth + 1;
      group.open(inner, segment, stack);
      return true;
    }
    // One that is done already and lacks it; what comes next goes on where it was.
    if (!FOLLOWERS.has(name) && lateIn(group, segment, stack[depth + 1])) {
      misplaced.push(segment);
      return true;
    }
  }
  return false;
}

/** The group that such a segment begins here: the next one in order, else one before it. */
function groupToOpen(group: Group, name: string): (GrammarPart & { readonly group: Grammar }) | undefined {
  let before: (GrammarPart & { readonly group: Grammar }) | undefined;
  for (const part of group.grammar.groups) {
    if (!part.group.openers.has(name) || group.beginsNext(name, part)) continue;
    if (!part.repeats && group.instanceOf(part.group) !== undefined) continue;
    if (group.isBehind(part.index)) return part;
    before ??= part;
  }
  return before;
}

function lateIn(group: Group, segment: Hl7Segment, open: Group | undefined): boolean {
  for (const part of group.grammar.groups) {
    const done = group.instanceOf(part.group);
    if (done === undefined || done === open) continue;
    const own = part.group.segments.get(segment.name);
    if (own !== undefined && !part.group.openers.has(segment.name) && (own.repeats || !done.holds(segment.name))) {
      done.accept(segment, own);
      return true;
    }
    const inner = groupToOpen(done, segment.name);
    if (inner !== undefined && !part.group.openers.has(segment.name)) {
      done.open(inner, segment, []);
      return true;
    }
    if (lateIn(done, segment, undefined)) return true;
  }
  return false;
}
