/**
 * The auditor's SQL (docs/auditing.md): functions of the same meaning as the graph's `at`, in a schema of their own. They are made anew at every
 * start, since they are code; they read whatever build of the master store serves.
 */
import { FACT_KINDS } from '../mapping/fact.js';

export const AUDIT_SCHEMA = 'audit';

/** Functions that the role may call, with the types of their arguments. */
export const AUDIT_FUNCTIONS = [
  'position_at(timestamptz)',
  'patient_as_of(timestamptz, timestamptz, uuid)',
  'facts_as_of(timestamptz, timestamptz, uuid, text)',
  'changes(timestamptz, timestamptz, uuid)',
  'messages(timestamptz, timestamptz)',
] as const;

/** Nothing of the caller's search path counts inside, and the session's zone does not either. */
const DEFINER = `language plpgsql stable security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC'`;

/**
 * What stands of every field of every thing: the rule of docs/architecture.md §8 over sets. \`%1$s\` is the build. $1 position, $2 valid time,
 * $3 records or null for all, $4 kinds or null for all. Ended fields are in it, with \`value\` null.
 */
const STANDING = `
  with known as materialized (
    select record, kind, entity, key, valid_from, pos, recorded_at, event_id, body from master.fact_v%1$s
    where pos <= $1 and ($3 is null or record = any($3)) and ($4 is null or kind = any($4))
  ), moved as (
    select t.record, t.kind, t.entity, u.valid_from, u.pos
    from (
      select record, kind, entity, array_agg(valid_from order by pos, valid_from) as times, array_agg(pos order by pos, valid_from) as positions,
        array_agg(body->>'m' order by pos, valid_from) as moves, array_agg(body ? 'a' order by pos, valid_from) as asserts,
        array_agg(coalesce(body->>'r' = '*', false) order by pos, valid_from) as retracts
      from known group by record, kind, entity having bool_or(body ? 'm')
    ) t, unnest(t.times, t.positions, audit.moved_rows(t.times, t.positions, t.moves, t.asserts, t.retracts)) u (valid_from, pos, moved)
    where u.moved
  ), visible as materialized (
    select * from known k where valid_from <= $2 and not exists (
      select from moved m where m.record = k.record and m.kind = k.kind and m.entity = k.entity and m.valid_from = k.valid_from and m.pos = k.pos)
  ), named as (
    select distinct record, kind, entity, field from visible, lateral (
      select jsonb_object_keys(case when body ? 'a' then body->'a' else '{}' end)
      union all select jsonb_array_elements_text(case when body ? 'e' then body->'e' else '[]' end)
      union all select jsonb_array_elements_text(case when jsonb_typeof(body->'r') = 'array' then body->'r' else '[]' end)) names (field)
  ), marks as (
    select v.record, v.kind, v.entity, v.key, n.field, v.valid_from, v.pos, v.recorded_at, v.event_id,
      coalesce(v.body->'a' ? n.field, false) as asserted,
      coalesce(v.body->'a' ? n.field, false) or coalesce(v.body->'e' ? n.field, false) or v.body ? 'w' as speaks,
      coalesce(v.body->>'r' = '*', false) or coalesce(jsonb_typeof(v.body->'r') = 'array' and v.body->'r' ? n.field, false) as retracts,
      v.body->'a'->n.field as value
    from named n join visible v using (record, kind, entity)
  ), moments as (
    select record, kind, entity, field, valid_from, max(pos) filter (where speaks) as last, bool_or(asserted) as stated,
      coalesce(max(pos) filter (where retracts) > max(pos) filter (where speaks), false)
        or (count(*) filter (where speaks) = 1 and coalesce(min(pos) filter (where retracts) < max(pos) filter (where speaks), false)) as hidden
    from marks where speaks or retracts group by record, kind, entity, field, valid_from
  ), latest as (
    select distinct on (record, kind, entity, field) record, kind, entity, field, valid_from, last
    from (select *, bool_or(stated) over (partition by record, kind, entity, field order by valid_from) as stood
      from moments where last is not null and not hidden) m
    where stood order by record, kind, entity, field, valid_from desc
  )
  select m.record, m.kind, m.entity, m.key, m.field, case when m.asserted then m.value end as value, m.asserted, m.valid_from, m.pos, m.recorded_at, m.event_id
  from latest l join marks m on m.record = l.record and m.kind = l.kind and m.entity = l.entity and m.field = l.field
    and m.valid_from = l.valid_from and m.pos = l.last`;

const IS_IDENTIFIER = `(field = 'identifier' or field like 'identifier.%%' or field like 'identifier:%%')`;

/** Statements that make the functions. */
export function auditFunctions(): string[] {
  const kinds = `array[${FACT_KINDS.map((kind) => `'${kind}'`).join(', ')}]::text[]`;
  return [
    'create schema if not exists audit',
    'revoke all on schema audit from public',
    `create or replace function audit.serving() returns int ${DEFINER} as $do$
     declare build int;
     begin
       select p.version into build from hub.projection p where p.name = 'master' and p.serving;
       if build is null then raise exception 'UNAVAILABLE: the master store is not there yet'; end if;
       return build;
     end $do$`,
    // As of T is everything before the first position recorded after T; a T that is not settled yet is refused, so no answer changes later.
    `create or replace function audit.position_at(known timestamptz) returns int8 ${DEFINER} as $do$
     declare watermark int8; watermark_at timestamptz; mark timestamptz; mark_head int8; next_at timestamptz; found int8;
     begin
       select c.position, c.recorded_at, m.at, m.head into watermark, watermark_at, mark, mark_head
       from hub.projection p
       join lateral (select position, recorded_at from hub.checkpoint where projection = p.name and version = p.version order by position limit 1) c on true
       left join hub.clock_mark m on true
       where p.name = 'master' and p.serving;
       if watermark is null then raise exception 'UNAVAILABLE: the master store is not there yet'; end if;
       if not coalesce(mark >= known and watermark >= mark_head, false) and not coalesce(watermark_at >= known, false) then
         -- No event is ever stamped at or below a mark, and stamps grow: what comes next in the log says that nothing at or before the time is missing.
         if mark >= known then
           select (convert_from(e.metadata, 'UTF8')::jsonb->>'recordedAt')::timestamptz into next_at
           from log.event e where e.position > watermark order by e.position limit 1;
         end if;
         if coalesce(next_at <= known, true) then
           raise exception 'BEYOND_WATERMARK: known up to %', greatest(watermark_at, case when watermark >= mark_head then mark end);
         end if;
       end if;
       execute format('select pos from master.tx_clock_v%s where recorded_at <= $1 order by recorded_at desc limit 1', audit.serving()) into found using known;
       if found is null then raise exception 'BEFORE_LOG: this log begins later'; end if;
       return least(found, watermark);
     end $do$`,
    // Which rows a later one moved away from their valid time; the arrays are in order of (position, valid time).
    `create or replace function audit.moved_rows(times timestamptz[], positions int8[], moves text[], asserts bool[], retracts bool[]) returns bool[]
     language plpgsql immutable set search_path = pg_catalog, pg_temp as $do$
     declare n int := cardinality(times); moved bool[] := array_fill(false, array[cardinality(times)]); first int := 1; after int; mover int;
       own timestamptz[]; stands timestamptz[];
     begin
       while first <= n loop
         after := first;
         mover := null;
         while after <= n and positions[after] = positions[first] loop
           if moves[after] is not null then mover := after; end if;
           after := after + 1;
         end loop;
         if mover is not null then
           own := times[first:after - 1];
           stands := array[]::timestamptz[];
           for i in 1..first - 1 loop
             if moves[mover] = 'all' then
               if not times[i] = any(own) then moved[i] := true; end if;
             elsif not moved[i] then
               if retracts[i] then stands := array_remove(stands, times[i]); end if;
               if asserts[i] and not times[i] = any(stands) then stands := stands || times[i]; end if;
             end if;
           end loop;
           if moves[mover] = 'only' and cardinality(stands) = 1 and not stands[1] = any(own) then
             for i in 1..first - 1 loop
               if times[i] = stands[1] then moved[i] := true; end if;
             end loop;
           end if;
         end if;
         first := after;
       end loop;
       return moved;
     end $do$`,
    // Records and who has them; of one patient or their survivor, or of everybody.
    `create or replace function audit.records_at(build int, at_position int8, of_patient uuid) returns table (record uuid, patient uuid, since int8) ${DEFINER} as $do$
     declare holder uuid := of_patient; next uuid;
     begin
       if of_patient is null then
         return query execute format('select distinct on (l.record) l.record, l.patient, min(l.pos) over (partition by l.record)
           from master.link_v%s l where l.pos <= $1 order by l.record, l.pos desc', build) using at_position;
         return;
       end if;
       for step in 1..1000 loop
         execute format('select l.patient from master.link_v%1$s l where l.pos <= $1
             and l.record in (select record from master.link_v%1$s where patient = $2 and pos <= $1)
             and not exists (select from master.link_v%1$s n where n.record = l.record and n.pos > l.pos and n.pos <= $1)
             order by (l.patient = $2) desc, (select max(f.pos) from master.link_v%1$s f where f.record = l.record and f.patient = $2 and f.pos <= $1) desc limit 1', build)
           into next using at_position, holder;
         exit when next is null or next = holder;
         holder := next;
       end loop;
       return query execute format('select l.record, l.patient, (select min(f.pos) from master.link_v%1$s f where f.record = l.record)
           from master.link_v%1$s l where l.pos <= $1 and l.patient = $2
           and not exists (select from master.link_v%1$s n where n.record = l.record and n.pos > l.pos and n.pos <= $1)', build)
         using at_position, holder;
     end $do$`,
    `drop function if exists audit.patient_as_of(timestamptz, timestamptz, uuid)`,
    `create function audit.patient_as_of(known timestamptz, valid timestamptz default null, of_patient uuid default null)
     returns table (patient uuid, field text, value jsonb, valid_from timestamptz, "position" int8, recorded_at timestamptz, message uuid) ${DEFINER} as $do$
     declare build int := audit.serving(); at_position int8 := audit.position_at(known); records uuid[];
     begin
       if of_patient is not null then select array_agg(r.record) into records from audit.records_at(build, at_position, of_patient) r; records := coalesce(records, '{}'); end if;
       return query execute format($q$
         with standing as (${STANDING}), held as (
           select h.patient, h.since, s.* from standing s join audit.records_at(%1$s, $1, $5) h using (record)
         ), merged as (
           select distinct on (h.patient, h.field) h.patient, h.field, h.value, h.asserted, h.valid_from, h.pos, h.recorded_at, h.event_id
           from held h order by h.patient, h.field, h.valid_from desc, h.pos desc
         ), united as (
           select u.patient, u.field, jsonb_agg(u.item order by u.since, u.record, u.ordinal) as value
           from (select distinct on (h.patient, h.field, item) h.patient, h.field, h.since, h.record, items.item, items.ordinal
             from held h, lateral jsonb_array_elements(case when jsonb_typeof(h.value) = 'array' then h.value else jsonb_build_array(h.value) end)
               with ordinality items (item, ordinal)
             where h.asserted and ${IS_IDENTIFIER} order by h.patient, h.field, item, h.since, h.record, items.ordinal) u
           group by u.patient, u.field
         )
         select m.patient, m.field, coalesce(u.value, m.value), m.valid_from, m.pos, m.recorded_at, m.event_id
         from merged m left join united u on u.patient = m.patient and u.field = m.field
         where m.asserted or u.value is not null order by m.patient, m.field $q$, build)
       using at_position, coalesce(valid, known), records, array[0]::int2[], of_patient;
     end $do$`,
    `drop function if exists audit.facts_as_of(timestamptz, timestamptz, uuid, text)`,
    `create function audit.facts_as_of(known timestamptz, valid timestamptz default null, of_patient uuid default null, of_kind text default null)
     returns table (patient uuid, kind text, id text, field text, value jsonb, valid_from timestamptz, "position" int8, recorded_at timestamptz, message uuid) ${DEFINER} as $do$
     declare build int := audit.serving(); at_position int8 := audit.position_at(known); records uuid[]; wanted int2[];
     begin
       if of_patient is not null then select array_agg(r.record) into records from audit.records_at(build, at_position, of_patient) r; records := coalesce(records, '{}'); end if;
       select array_agg((n.ordinal - 1)::int2) into wanted from unnest(${kinds}) with ordinality n (name, ordinal)
       where n.ordinal > 1 and (of_kind is null or n.name = of_kind);
       return query execute format($q$
         select h.patient, (${kinds})[s.kind + 1],
           translate(encode(set_byte('\\x00', 0, s.kind) || uuid_send(s.record) || int8send(s.entity), 'base64'), '+/=', '-_'),
           s.field, s.value, s.valid_from, s.pos, s.recorded_at, s.event_id
         from (${STANDING}) s join audit.records_at(%1$s, $1, $5) h on h.record = s.record
         where s.asserted order by h.patient, s.kind, s.record, s.entity, s.field $q$, build)
       using at_position, coalesce(valid, known), records, coalesce(wanted, '{}'), of_patient;
     end $do$`,
    `drop function if exists audit.changes(timestamptz, timestamptz, uuid)`,
    `create function audit.changes(after timestamptz, up_to timestamptz, of_patient uuid default null)
     returns table ("position" int8, recorded_at timestamptz, patient uuid, kind text, id text, valid_from timestamptz, valid_from_field text, says jsonb, message uuid) ${DEFINER} as $do$
     declare build int := audit.serving(); first int8 := audit.position_at(after); last int8 := audit.position_at(up_to); records uuid[];
     begin
       if of_patient is not null then select array_agg(r.record) into records from audit.records_at(build, last, of_patient) r; records := coalesce(records, '{}'); end if;
       return query execute format($q$
         select f.pos, f.recorded_at, h.patient, (${kinds})[f.kind + 1],
           translate(encode(set_byte('\\x00', 0, f.kind) || uuid_send(f.record) || int8send(f.entity), 'base64'), '+/=', '-_'),
           f.valid_from, f.valid_field, f.body, f.event_id
         from master.fact_v%1$s f join audit.records_at(%1$s, $2, $4) h on h.record = f.record
         where f.pos > $1 and f.pos <= $2 and ($3 is null or f.record = any($3)) order by f.pos, f.kind, f.record, f.entity, f.valid_from $q$, build)
       using first, last, records, of_patient;
     end $do$`,
    `drop function if exists audit.messages(timestamptz, timestamptz)`,
    `create function audit.messages(after timestamptz, up_to timestamptz)
     returns table ("position" int8, message uuid, recorded_at timestamptz, type text, version text, source text, patient uuid, unmapped text[]) ${DEFINER} as $do$
     begin
       return query execute format('select m.pos, m.event_id, m.recorded_at, m.type, m.version, m.source, m.patient, m.unmapped from master.message_v%s m
         where m.pos > $1 and m.pos <= $2 order by m.pos', audit.serving()) using audit.position_at(after), audit.position_at(up_to);
     end $do$`,
    'revoke all on all functions in schema audit from public',
  ];
}
