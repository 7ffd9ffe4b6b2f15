//! `redis-crate URL CHANNEL`: numbers 0 to 19 single, 20 to 39 in a pipeline, 40 to 59 in an atomic one.

use redis::TypedCommands;

fn main() -> redis::RedisResult<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(channel)) = (arguments.next(), arguments.next()) else {
        panic!("usage: redis-crate URL CHANNEL");
    };
    let mut connection = redis::Client::open(url)?.get_connection()?;
    let mut heard = Vec::new();
    for number in 0..20 {
        heard.push(connection.publish(&channel, number)?);
    }
    for (numbers, is_atomic) in [(20..40, false), (40..60, true)] {
        let mut pipe = redis::pipe();
        if is_atomic {
            pipe.atomic();
        }
        for number in numbers {
            pipe.publish(&channel, number);
        }
        heard.extend(pipe.query::<Vec<usize>>(&mut connection)?);
    }
    println!("{heard:?}");
    Ok(())
}
