// Migrates several equal virtual machines over one link with SimGrid and prints a row of CSV for
// each: when it started, how long that took, and what was sent.
//
// Each guest has a core of its own and computes without end, so that it dirties its memory at a
// constant rate whatever the others do. See migsim/data/simgrid.md for how the data were made.

#include <cstdio>
#include <cstdlib>
#include <map>
#include <simgrid/plugins/live_migration.h>
#include <simgrid/s4u.hpp>
#include <string>

namespace sg = simgrid::s4u;

struct Guest {
  double begin = -1, took = -1, stopped = -1, resumed = -1;
};

int main(int argc, char** argv)
{
  sg::Engine engine(&argc, argv);
  if (argc != 8) {
    std::fprintf(stderr, "usage: contention GUESTS RAM_BYTES WORKING_SET DIRTY_BYTES_PER_S "
                         "LINK_BYTES_PER_S LATENCY_S START_INTERVAL_S\n");
    return 2;
  }
  const int guests       = std::atoi(argv[1]);
  const double ram       = std::atof(argv[2]);
  const double working   = std::atof(argv[3]);
  const double dirtying  = std::atof(argv[4]);
  const double bandwidth = std::atof(argv[5]);
  const double latency   = std::atof(argv[6]);
  const double interval  = std::atof(argv[7]);
  const double speed     = 1e9; // that a migration is allowed: more than the link has

  sg_vm_live_migration_plugin_init();

  auto* zone        = sg::create_full_zone("zone");
  const double flop = 1e9;
  auto* source      = zone->create_host("source", flop)->set_core_count(guests + 1)->seal();
  auto* destination = zone->create_host("destination", flop)->set_core_count(guests + 1)->seal();
  auto* both        = zone->create_split_duplex_link("link", bandwidth)->set_latency(latency)->seal();
  zone->add_route(source->get_netpoint(), destination->get_netpoint(), nullptr, nullptr,
                  {sg::LinkInRoute(both, sg::LinkInRoute::Direction::UP)}, true);
  zone->seal();

  std::map<std::string, Guest> seen;
  double sent = 0; // by all of them
  sg::Comm::on_send_cb([&](sg::Comm const& message) { sent += message.get_remaining(); });
  sg::VirtualMachine::on_suspend_cb(
      [&](auto const& vm) { seen[vm.get_name()].stopped = sg::Engine::get_clock(); });
  sg::VirtualMachine::on_resume_cb(
      [&](auto const& vm) { seen[vm.get_name()].resumed = sg::Engine::get_clock(); });

  for (int k = 0; k < guests; k++) {
    const std::string name = "guest" + std::to_string(k);
    sg::Actor::create("operator" + std::to_string(k), source, [&, k, name] {
      auto* guest = source->create_vm(name, 1, static_cast<size_t>(ram));
      sg_vm_set_migration_speed(guest, speed);
      sg_vm_set_dirty_page_intensity(guest, dirtying / speed); // it is a share of the speed
      sg_vm_set_working_set_memory(guest, static_cast<sg_size_t>(working));
      guest->start();
      sg::Actor::create("load", guest, [] { sg::this_actor::execute(1e16); })->daemonize();
      sg::this_actor::sleep_for(k * interval);
      seen[name].begin = sg::Engine::get_clock();
      sg_vm_migrate(guest, destination);
      seen[name].took = sg::Engine::get_clock() - seen[name].begin;
    });
  }
  engine.run();

  for (int k = 0; k < guests; k++) {
    const Guest& guest = seen["guest" + std::to_string(k)];
    std::printf("%d,%d,%.0f,%.0f,%.0f,%.0f,%g,%g,%.9f,%.9f,%.0f\n", guests, k, ram, working, dirtying,
                bandwidth, latency, interval, guest.took, guest.resumed - guest.stopped, sent);
  }
  return 0;
}
