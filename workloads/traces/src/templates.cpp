// Heavy C++ for a compiler: standard containers, regular expressions and sorts of many types.
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <regex>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

template <int N>
struct Item {
    int key;
    std::string name;
    std::variant<int, double, std::string> value;
    bool operator<(const Item& other) const {
        return std::tie(key, name) < std::tie(other.key, other.name);
    }
};

template <int N>
long exercise(std::mt19937& draw) {
    std::map<std::string, Item<N>> by_name;
    std::unordered_map<int, std::shared_ptr<Item<N>>> by_key;
    std::vector<Item<N>> items;
    for (int i = 0; i < 100 + N; ++i) {
        Item<N> item{int(draw() % 1000), std::to_string(draw()), double(N)};
        by_name.emplace(item.name, item);
        by_key[item.key] = std::make_shared<Item<N>>(item);
        items.push_back(item);
    }
    std::sort(items.begin(), items.end());
    std::stable_sort(items.begin(), items.end(), [](const Item<N>& a, const Item<N>& b) {
        return a.name.size() * N < b.name.size() * N;
    });
    std::set<Item<N>> distinct(items.begin(), items.end());
    std::function<long(const Item<N>&)> count = [&](const Item<N>& item) {
        return std::visit([](const auto& value) { return long(sizeof value) * N; }, item.value);
    };
    long total = 0;
    for (const Item<N>& item : distinct) total += count(item) + long(by_name.count(item.name));
    return total + long(by_key.size());
}

template <int... N>
long all(std::integer_sequence<int, N...>) {
    std::mt19937 draw(1);
    return (exercise<N>(draw) + ...);
}

int main() {
    std::regex pattern("[0-9]+");
    std::cout << all(std::make_integer_sequence<int, COUNT>()) << '\n';
}
