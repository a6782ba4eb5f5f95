import {
  createHashHistory,
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  parseSearchWith,
  stringifySearchWith,
} from '@tanstack/react-router'
import { Layout, NotFound } from './layout'
import { DecisionsPage } from './pages/decisions'
import { FailuresPage } from './pages/failures'
import { ListPage, listSearch } from './pages/list'
import { LogPage, logSearch } from './pages/log'
import { OverviewPage, overviewSearch } from './pages/overview'
import { SagaPage, sagaSearch } from './pages/saga'
import { StartPage } from './pages/start'

// Which page the address names. What a page shows is all in it, so that a view can be shared.

/** Only who looks at bulks loads their pages. */
const BulksPage = lazyRouteComponent(() => import('./pages/bulks'), 'BulksPage')
const BulkPage = lazyRouteComponent(() => import('./pages/bulk'), 'BulkPage')

const root = createRootRoute({ component: Layout, notFoundComponent: NotFound })
const under = <Path extends string>(path: Path) => ({ getParentRoute: () => root, path })

const routeTree = root.addChildren([
  createRoute({ ...under('/'), component: StartPage }),
  createRoute({ ...under('/sagas'), component: ListPage, validateSearch: listSearch }),
  createRoute({ ...under('/saga/$sagaId'), component: SagaPage, validateSearch: sagaSearch }),
  createRoute({ ...under('/bulk'), component: BulksPage }),
  createRoute({ ...under('/bulk/$bulkId'), component: BulkPage }),
  createRoute({ ...under('/decisions/$decisionsId'), component: DecisionsPage }),
  createRoute({ ...under('/log'), component: LogPage, validateSearch: logSearch }),
  createRoute({ ...under('/overview'), component: OverviewPage, validateSearch: overviewSearch }),
  createRoute({ ...under('/failures'), component: FailuresPage }),
])

export const router = createRouter({
  routeTree,
  history: createHashHistory(),
  // Plain words, as a person would write them into the address.
  parseSearch: parseSearchWith((text) => text),
  stringifySearch: stringifySearchWith(String),
  scrollRestoration: true,
})

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router
  }
}
