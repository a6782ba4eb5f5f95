import { services } from '../activities/index.js'

/** The app as it is, but that its participants take one call at a time: as those of most teams do. */
for (const service of services) {
  delete service.invokeMany
  if ('compensateMany' in service) delete service.compensateMany
}
await import('../embedded/app.js')
