//! A small HTTP server: `/livez`, `/readyz` and `/metrics`.

use crate::{
    health::{self, Health},
    metrics::Sampler,
    watched::Watched,
};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use std::{io, net::TcpListener, sync::Arc, time::Duration};
use tokio::{sync::Mutex, time::Instant};

#[derive(Clone, Debug)]
pub(crate) struct Pages {
    pub(crate) watched: Arc<Watched>,
    pub(crate) sampler: Arc<Sampler>,
    pub(crate) prometheus: Option<PrometheusHandle>,
    pub(crate) last_check: Arc<Mutex<Option<(Instant, Health)>>>,
}

pub(crate) async fn serve(listener: TcpListener, pages: Pages) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz));
    if pages.prometheus.is_some() {
        router = router.route("/metrics", get(metrics));
    }
    axum::serve(listener, router.with_state(pages)).await
}

async fn livez(State(pages): State<Pages>) -> impl IntoResponse {
    let health = health::glance(&pages.watched);
    answer(health.is_live(), &health)
}

/// Whoever asks again within a second is told the same: brokers are not asked by everybody who can reach this page.
async fn readyz(State(pages): State<Pages>) -> impl IntoResponse {
    let mut last = pages.last_check.lock().await;
    let health = match &*last {
        Some((at, health)) if at.elapsed() < Duration::from_secs(1) => health.clone(),
        _ => {
            let health = health::check(&pages.watched).await;
            *last = Some((Instant::now(), health.clone()));
            health
        }
    };
    drop(last);
    answer(health.is_ready(), &health)
}

fn answer(is_well: bool, health: &Health) -> impl IntoResponse + use<> {
    let status = if is_well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let word = if is_well { "ok" } else { "not ok" };
    (status, format!("{word}\n{health}"))
}

async fn metrics(State(pages): State<Pages>) -> impl IntoResponse {
    // As fresh as can be without asking anybody.
    pages.sampler.known();
    let page = pages
        .prometheus
        .map(|handle| handle.render())
        .unwrap_or_default();
    // The text format, and its version: https://prometheus.io/docs/instrumenting/exposition_formats/
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        page,
    )
}
