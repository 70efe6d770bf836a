// What a dashboard of ours may be, put together from the types that Grafana publishes (@grafana/schema): a dashboard, and
// for each kind of panel its own options. The test `dashboards_follow_grafanas_schema` lets the compiler check each
// dashboard against it, as a literal, so that an option that Grafana does not know is refused, too.

import type * as common from '@grafana/schema';
import type {
  Dashboard,
  FieldConfig,
  Panel,
  RowPanel,
} from '@grafana/schema/dist/types/raw/dashboard/x/types.gen';
import type * as barchart from '@grafana/schema/dist/types/raw/composable/barchart/panelcfg/x/types.gen';
import type * as bargauge from '@grafana/schema/dist/types/raw/composable/bargauge/panelcfg/x/types.gen';
import type * as heatmap from '@grafana/schema/dist/types/raw/composable/heatmap/panelcfg/x/types.gen';
import type * as stat from '@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import type * as table from '@grafana/schema/dist/types/raw/composable/table/panelcfg/x/types.gen';
import type * as timeseries from '@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';

// In JSON an enum is its value.
type Json<T> = T extends string
  ? `${T}`
  : T extends readonly (infer E)[]
    ? Json<E>[]
    : T extends object
      ? { [K in keyof T]: Json<T[K]> }
      : T;

// What is left out of a panel's options has its default.
type Defaulted<T> = T extends readonly (infer E)[]
  ? Defaulted<E>[]
  : T extends object
    ? { [K in keyof T]?: Defaulted<T[K]> }
    : T;

// Queries belong to the data sources, whose types are not in the package: these are the ones that we use.
interface PrometheusQuery {
  refId: string;
  datasource: { type: 'prometheus'; uid: '${datasource}' };
  expr: string;
  legendFormat?: string;
  range?: boolean;
  instant?: boolean;
  format?: 'time_series' | 'table' | 'heatmap';
}

interface PostgresQuery {
  refId: string;
  datasource: { type: 'grafana-postgresql-datasource'; uid: '${datasource}' };
  format: 'table' | 'time_series';
  rawQuery: true;
  editorMode: 'code';
  rawSql: string;
}

type PanelOf<Type extends string, Options, Custom> = Json<
  Required<Pick<Panel, 'id' | 'title' | 'description' | 'gridPos' | 'datasource'>> &
    Pick<Panel, 'interval' | 'links' | 'transformations'>
> & {
  type: Type;
  targets: PrometheusQuery[] | PostgresQuery[];
  options: Defaulted<Json<Options>>;
  fieldConfig: {
    defaults: Json<Omit<FieldConfig, 'custom'>> & { custom?: Defaulted<Json<Custom>> };
    overrides: { matcher: { id: string; options?: unknown }; properties: { id: string; value?: unknown }[] }[];
  };
};

type AnyPanel =
  | PanelOf<'barchart', barchart.Options, barchart.FieldConfig>
  | PanelOf<'bargauge', bargauge.Options, never>
  | PanelOf<'heatmap', heatmap.Options, heatmap.FieldConfig>
  | PanelOf<'stat', stat.Options, never>
  | PanelOf<'table', table.Options, common.TableFieldOptions>
  | PanelOf<'timeseries', timeseries.Options, timeseries.FieldConfig>
  | Json<RowPanel>;

export type OurDashboard = Json<Omit<Dashboard, 'panels'>> & { panels: AnyPanel[] };
