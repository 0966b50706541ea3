/** Metrics of the hub's state, read from the database when they are asked for, so that they are true whatever process is away. */
import { Gauge, Registry } from 'prom-client';
import type { Pool } from 'pg';

interface StateRow {
  readonly metric:
    | 'head'
    | 'mark'
    | 'lag'
    | 'lagSeconds'
    | 'rate'
    | 'letters'
    | 'doubled'
    | 'building'
    | 'blobs'
    | 'blobBytes'
    | 'logBytes'
    | 'erasures'
    | 'unwrapped';
  readonly label: string;
  readonly value: number;
}

const STATE = `
  select 'head' as metric, '' as label, head::float8 as value from hub.clock_mark
  union all
  select 'mark', '', extract(epoch from clock_timestamp() - at)::float8 from hub.clock_mark
  union all
  select 'lag', p.name, greatest(m.head - c.position, 0)::float8
    from hub.projection p join hub.checkpoint c on c.projection = p.name and c.version = p.version, hub.clock_mark m where p.serving
  union all
  select 'lagSeconds', p.name, case when c.position >= m.head then 0
      else greatest(0, extract(epoch from m.at - coalesce(c.recorded_at, p.started_at))) end::float8
    from hub.projection p join hub.checkpoint c on c.projection = p.name and c.version = p.version, hub.clock_mark m where p.serving
  union all
  select 'rate', p.name, c.rate
    from hub.projection p join hub.checkpoint c on c.projection = p.name and c.version = p.version where p.serving
  union all
  select 'building', name, count(*)::float8 from hub.projection where state = 'building' group by name
  union all
  select 'blobs', '', count(*)::float8 from hub.blob where position is not null
  union all
  select 'blobBytes', '', coalesce(sum(length), 0)::float8 from hub.blob where position is not null
  union all
  select 'logBytes', '', coalesce(sum(pg_total_relation_size(inhrelid)), 0)::float8 from pg_inherits where inhparent = 'log.event'::regclass
  union all
  select 'erasures', '', coalesce(max(epoch), 0)::float8 from sealing.erasure
  union all
  select 'unwrapped', '', coalesce(sum(total - rewrapped), 0)::float8 from sealing.rotation where finished_at is null
  union all
  select 'doubled', '', count(*)::float8 from hub.doubled_event
  union all
  select 'letters', status, count(*)::float8 from hub.dead_letter group by status`;

/** In the Prometheus text format. */
export async function stateMetrics(pool: Pool): Promise<string> {
  const registry = new Registry();
  const registers = [registry];
  const gauges: Readonly<Record<StateRow['metric'], { set(labels: string, value: number): void }>> = {
    head: plain(new Gauge({ name: 'anamnesis_log_head', help: 'Position of the last event of the log', registers })),
    mark: plain(
      new Gauge({ name: 'anamnesis_clock_mark_age_seconds', help: 'Age of the clock mark of the writer', registers }),
    ),
    lag: labelled('projection', {
      name: 'anamnesis_projection_lag_positions',
      help: 'Positions between the head of the log and the serving build of a projection',
      registers,
    }),
    lagSeconds: labelled('projection', {
      name: 'anamnesis_projection_lag_seconds',
      help: 'Time between the clock mark and the last event in the serving build of a projection; 0 where it is caught up',
      registers,
    }),
    rate: labelled('projection', {
      name: 'anamnesis_projection_events_per_second',
      help: 'Events per second of the serving build of a projection, in its last batches',
      registers,
    }),
    building: labelled('projection', {
      name: 'anamnesis_projection_rebuilds',
      help: 'Rebuilds of a projection under way',
      registers,
    }),
    blobs: plain(new Gauge({ name: 'anamnesis_blobs', help: 'Bodies that are too large for the log', registers })),
    blobBytes: plain(new Gauge({ name: 'anamnesis_blob_bytes', help: 'Sealed bytes of those bodies', registers })),
    logBytes: plain(
      new Gauge({ name: 'anamnesis_log_disk_bytes', help: 'Size of the embedded log with its indexes', registers }),
    ),
    erasures: plain(new Gauge({ name: 'anamnesis_erasures', help: 'Erasures carried out', registers })),
    unwrapped: plain(
      new Gauge({
        name: 'anamnesis_key_rotation_remaining',
        help: 'Keys that a rotation of the master key under way has not wrapped again yet',
        registers,
      }),
    ),
    doubled: plain(
      new Gauge({
        name: 'anamnesis_log_doubled_events',
        help: 'Events whose id stands in the log before, and which nothing applies: more than 0 is a fault of the intake',
        registers,
      }),
    ),
    letters: labelled('status', { name: 'anamnesis_dead_letters', help: 'Dead letters by status', registers }),
  };
  const { rows } = await pool.query<StateRow>(STATE);
  for (const { metric, label, value } of rows) gauges[metric].set(label, value);
  return registry.metrics();
}

function plain(gauge: Gauge): { set(label: string, value: number): void } {
  return { set: (_label, value) => gauge.set(value) };
}

function labelled(
  labelName: string,
  settings: { name: string; help: string; registers: Registry[] },
): { set(label: string, value: number): void } {
  const gauge = new Gauge({ ...settings, labelNames: [labelName] });
  return { set: (label, value) => gauge.set({ [labelName]: label }, value) };
}
