use super::*;

fn at(seconds: f64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs_f64(1_000.0 + seconds)
}

fn by(ended: f64) -> Acked {
    Acked { began: at(ended - 0.1), ended: at(ended) }
}

/// Killed at 5, and what was committed after 4 is gone.
fn tails() -> Tails {
    let tail = |cluster| Tail { cluster, kept_until: at(4.0), killed: at(5.0) };
    Tails(vec![tail(Cluster::Shop), tail(Cluster::Orders(0))])
}

fn wrong(judge: impl FnOnce(&mut Vec<Violation>)) -> usize {
    let mut wrong = Vec::new();
    judge(&mut wrong);
    wrong.len()
}

fn text(value: &str) -> String {
    value.to_owned()
}

#[test]
fn a_read_shows_the_last_firm_write_or_a_loose_one() {
    let mut name = Register::new("name", Cluster::Shop, text("a"));
    name.read(text("a"), at(0.0));
    name.written(text("b"), Ok(by(1.0)));
    name.read(text("b"), at(1.5));
    name.written(text("c"), Err(at(2.0)));
    name.read(text("b"), at(2.0));
    name.read(text("c"), at(2.1));
    name.written(text("d"), Ok(by(3.0)));
    name.read(text("d"), at(3.1));
    // It comes late, over the other.
    name.read(text("c"), at(3.2));
    assert_eq!(wrong(|wrong| name.judge(&Tails::default(), wrong)), 0);
    name.written(text("e"), Ok(by(20.0)));
    name.read(text("c"), at(20.1));
    assert_eq!(wrong(|wrong| name.judge(&Tails::default(), wrong)), 1, "too late");
    name.read(text("b"), at(20.2));
    name.read(text("a"), at(20.3));
    name.read(text("x"), at(20.4));
    assert_eq!(wrong(|wrong| name.judge(&Tails::default(), wrong)), 4);
}

#[test]
fn only_the_tail_may_be_lost_and_only_after_the_kill() {
    let mut name = Register::new("name", Cluster::Shop, text("a"));
    name.written(text("kept"), Ok(by(3.9)));
    name.written(text("tail"), Ok(by(4.5)));
    name.read(text("tail"), at(4.6));
    name.read(text("kept"), at(5.5));
    assert_eq!(wrong(|wrong| name.judge(&tails(), wrong)), 0);
    assert_eq!(wrong(|wrong| name.judge(&Tails::default(), wrong)), 1);
    name.read(text("a"), at(5.6));
    assert_eq!(wrong(|wrong| name.judge(&tails(), wrong)), 1);

    // It was there once, so it does not come late: what is written later stays.
    name.written(text("after"), Ok(by(6.5)));
    name.read(text("after"), at(6.6));
    assert_eq!(wrong(|wrong| name.judge(&tails(), wrong)), 1);
    name.read(text("tail"), at(6.7));
    assert_eq!(wrong(|wrong| name.judge(&tails(), wrong)), 2);

    let mut answered_late = Register::new("name", Cluster::Shop, text("a"));
    answered_late.written(text("b"), Ok(Acked { began: at(4.9), ended: at(7.0) }));
    answered_late.read(text("a"), at(8.0));
    assert_eq!(wrong(|wrong| answered_late.judge(&tails(), wrong)), 0);

    let mut early = Register::new("name", Cluster::Shop, text("a"));
    early.written(text("tail"), Ok(by(4.5)));
    early.read(text("a"), at(4.6));
    assert_eq!(wrong(|wrong| early.judge(&tails(), wrong)), 1);

    let mut elsewhere = Register::new("name", Cluster::Orders(1), text("a"));
    elsewhere.written(text("b"), Ok(by(4.5)));
    elsewhere.read(text("a"), at(5.5));
    assert_eq!(wrong(|wrong| elsewhere.judge(&tails(), wrong)), 1);
}

fn mark(quantity: i64) -> Mark {
    Mark { product: 1, quantity }
}

#[test]
fn an_order_is_there_once_and_is_nobody_elses() {
    let mut orders = Orders::new(7, Cluster::Orders(0));
    orders.placed(mark(1), Some((101, by(1.0))));
    orders.placed(mark(2), None);
    orders.listed(vec![(101, mark(1))], at(2.0));
    orders.listed(vec![(101, mark(1)), (102, mark(2))], at(2.0));
    orders.counted(1, at(2.0));
    orders.counted(2, at(2.0));
    assert_eq!(wrong(|wrong| orders.judge(&Tails::default(), wrong)), 0);
    let shown = |rows: &[(i64, Mark)]| {
        wrong(|wrong| orders.judge_rows(rows, at(9.0), &Tails::default(), wrong))
    };
    assert_eq!(shown(&[(102, mark(2))]), 1, "lost");
    assert_eq!(shown(&[(101, mark(1)), (103, mark(1))]), 1, "doubled");
    assert_eq!(shown(&[(101, mark(1)), (102, mark(2)), (103, mark(2))]), 1, "doubled");
    assert_eq!(shown(&[(101, mark(1)), (104, mark(9))]), 1, "somebody else's");

    orders.counted(0, at(2.0));
    orders.counted(3, at(2.0));
    assert_eq!(wrong(|wrong| orders.judge(&Tails::default(), wrong)), 2);
}

#[test]
fn an_order_may_be_gone_with_the_tail_of_its_shard() {
    let mut orders = Orders::new(7, Cluster::Orders(0));
    orders.placed(mark(1), Some((101, by(4.5))));
    let tail = tails();
    assert_eq!(wrong(|wrong| orders.judge_rows(&[], at(9.0), &tail, wrong)), 0);
    assert_eq!(orders.lost(&[]), 1);
    orders.placed(mark(2), Some((102, by(6.5))));
    assert_eq!(wrong(|wrong| orders.judge_rows(&[], at(9.0), &tail, wrong)), 1);
}

#[test]
fn a_token_may_be_accepted_for_a_second_after_its_logout() {
    let used = |logged_out, began, accepted| {
        let (logged_out, began) = (by(logged_out), at(began));
        let one = UseAfterLogout { logged_out, began, ended: began, accepted };
        wrong(|wrong| one.judge(&tails(), wrong))
    };
    assert_eq!(used(1.0, 1.9, true), 0);
    assert_eq!(used(1.0, 2.0, true), 1);
    assert_eq!(used(1.0, 2.0, false), 0);
    assert_eq!(used(4.5, 7.0, true), 0, "the logout is lost");
    assert_eq!(used(3.0, 7.0, true), 1);
}

#[test]
fn a_product_may_be_a_copy_for_a_second() {
    let mut product = Product::new(1);
    product.written(1, Some(by(1.0)));
    product.written(2, Some(by(2.0)));
    product.read(1, at(3.0), at(3.0));
    product.read(2, at(3.2), at(3.2));
    assert_eq!(wrong(|wrong| product.judge(&Tails::default(), wrong)), 0);
    product.read(1, at(3.2), at(3.2));
    product.read(0, at(2.2), at(2.2));
    product.read(3, at(3.2), at(3.2));
    assert_eq!(wrong(|wrong| product.judge(&Tails::default(), wrong)), 3);
}
