//! Where keys are, and what moves when a shard joins. Needs no server.
//! `cargo run -p shard-router --example placement`

use shard_router::strategy::{Modulo, moved};
use shard_router::{Column, KeyType, SlotMap, slot_sql};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let map = SlotMap::even(["a", "b", "c"])?;
    for user in [1_i64, 2, 3] {
        println!("user {user}: slot {}, shard {}", map.slot(&user), map.shard_of(&user));
    }
    // PostgreSQL computes the same, as a CHECK or in a query:
    println!("{}\n", slot_sql(&[Column { name: "user_id", key_type: KeyType::Int }]));

    let plan = map.plan().add_shard("d", 1).build()?;
    println!("{plan}");
    assert_eq!(plan.moved_slots(), 4_096);
    assert!(plan.moves().iter().all(|moved| moved.to.as_str() == "d"));

    let (three, four) = (Modulo::new(["a", "b", "c"])?, Modulo::new(["a", "b", "c", "d"])?);
    let modulo = moved(&three, &four, 0..100_000_i64) * 100.0;
    println!("a modulo would move {modulo:.1} % of all keys");
    assert!(modulo > 70.0);

    // A shard of twice the size, and one that leaves.
    let plan = plan.map().plan().reweight("d", 2).remove_shard("a").build()?;
    println!("\n{plan}");
    Ok(())
}
