//! Machines of one local network, which are network namespaces here with a cable between them.

use crate::{
    namespace::Namespace,
    tool::{Place, Tool},
};

/// Two machines, or why there are none.
fn machines() -> Result<[Namespace; 2], String> {
    let first = Namespace::hub()?;
    let second = first.inner()?;
    let cable = format!(
        "link add eth0 type veth peer name eth0 netns {}\n",
        second.id()
    );
    first.run(&["ip", "-batch", "-"], &cable)?;
    for (machine, number) in [(&first, 1), (&second, 2)] {
        let order = format!(
            "link set lo up\n\
             addr add 10.78.0.{number}/24 dev eth0\n\
             link set eth0 up\n\
             route add default dev eth0\n"
        );
        machine.run(&["ip", "-batch", "-"], &order)?;
    }
    Ok([first, second])
}

#[test]
fn machines_of_one_local_network_find_each_other_by_name_alone() {
    let machines = match machines() {
        Ok(machines) => machines,
        Err(why) => {
            println!("SKIPPED, network namespaces are not permitted here: {why}");
            return;
        }
    };
    // Directories of their own: what processes of one machine share, these do not.
    let places = [Place::new(), Place::new()];
    let start = |machine: usize, args: &[&str]| {
        let tool = places[machine].command(args);
        let mut command = machines[machine].enter();
        command.arg(tool.get_program()).args(tool.get_args());
        for (name, value) in tool.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Tool::start(crate::tool::piped(&mut command))
    };
    let common = ["--preset", "lan", "-n", "a local network"];
    let beacon = start(0, &[&["beacon"], &common[..]].concat());
    beacon.wait_lines(6);
    let _other = start(1, &[&["peers", "--watch"], &common[..]].concat());
    beacon.wait_said("the other machine", |line| {
        (line.starts_with("mosaik: peer ") && line.ends_with(" is there")).then_some(())
    });
}
