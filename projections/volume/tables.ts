/** Table of the volume projection. */
import type { Build } from '../../src/projecting/projection.js';

/** Physical name of a build's table. */
export function dayTable(build: Build): string {
  return `volume.day_v${build}`;
}

export function installVolume(build: Build): readonly string[] {
  return [
    'create schema if not exists volume',
    // `day` is that of recordedAt in UTC; `type` as in the envelope, empty for a type that is not of the documented set.
    `create table ${dayTable(build)} (
       source text not null, day date not null, type text not null,
       messages int8 not null, refused int8 not null, last_pos int8 not null,
       primary key (source, day, type))`,
  ];
}
