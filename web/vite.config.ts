import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

/** `vite build web` puts the page into web/dist, from where src/http/app.ts serves it. */
export default defineConfig({
  base: '/',
  plugins: [react()],
  build: { emptyOutDir: true, modulePreload: { polyfill: false }, assetsInlineLimit: 0 },
})
