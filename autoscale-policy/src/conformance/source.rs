use std::pin::pin;
use std::task::{Context, Waker};

use crate::source::{Figure, Source};

/// Whether a source tells figures that can be decided by, can be asked again after it was
/// not waited for, and fails instead of telling old figures. `silence` makes what it asks
/// unreachable, and `restore` reachable again.
///
/// # Panics
///
/// If it does not.
pub async fn source<S: Source>(
    source: &mut S,
    silence: impl AsyncFnOnce(),
    restore: impl AsyncFnOnce(),
) {
    let metric = source.metric().to_owned();
    assert!(!metric.is_empty(), "a metric has a name");
    figure(source).await;
    assert_eq!(source.metric(), metric, "a metric keeps its name");

    // Asked, and not waited for: the next answer is whole.
    let mut context = Context::from_waker(Waker::noop());
    let _ = pin!(source.read()).poll(&mut context);
    figure(source).await;

    silence().await;
    for _ in 0..2 {
        let told = source.read().await;
        assert!(told.is_err(), "{metric} cannot be asked, and told {told:?}");
    }
    restore().await;
    figure(source).await;
}

async fn figure<S: Source>(source: &mut S) {
    // The first of a rate may be none yet.
    for _ in 0..2 {
        match source.read().await {
            Ok(Some(Figure::Fleet(figure))) => return assert_sane(source.metric(), figure),
            Ok(Some(Figure::Instances(usages))) => {
                for usage in usages {
                    assert_sane(source.metric(), usage.usage);
                    assert!(
                        usage.request > 0.0,
                        "{}: a request of {}",
                        source.metric(),
                        usage.request
                    );
                }
                return;
            }
            Ok(None) => {}
            Err(error) => panic!("{} can be asked, and says: {error}", source.metric()),
        }
    }
    panic!("{} has no figure at the second reading", source.metric());
}

fn assert_sane(metric: &str, figure: f64) {
    assert!(figure.is_finite() && figure >= 0.0, "{metric} cannot be {figure}");
}
